"""Evaluation: model, loader, loss and metric in, figures out."""

from __future__ import annotations

from collections.abc import Iterable

import paddle

from ppzoo.engine.protocols import Batch, Loss, Metric


def evaluate(model: paddle.nn.Layer, batches: Iterable[Batch], loss: Loss, metric: Metric) -> dict[str, float]:
    """Figures of `model` over all samples of `batches`: the mean loss per sample and the metric's own.

    The model is in evaluation mode meanwhile and goes back to the mode in which it was.

    Args:
        batches: batches with `images` (N x C x H x W) and `labels`.
        loss: answers a mapping with "loss", the mean over a batch.
    """
    was_training = model.training
    model.eval()
    metric.reset()
    total, samples = 0.0, 0
    with paddle.no_grad():
        for batch in batches:
            output = model(batch.images)
            metric.update(output, batch.labels)
            total += float(loss(output, batch.labels)["loss"]) * len(batch.images)
            samples += len(batch.images)
    if was_training:
        model.train()
    return {"loss": total / samples, **metric.compute()}
