"""Evaluation: model, loader, loss and metric in, figures out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import paddle

from ppzoo.engine.processes import ALONE, Processes
from ppzoo.engine.protocols import Batch, Loss, Metric
from ppzoo.errors import DataError
from ppzoo.finite import require_finite, require_finite_metrics


def evaluate(
    model: paddle.nn.Layer,
    batches: Iterable[Batch | None],
    loss: Loss,
    metric: Metric,
    processes: Processes = ALONE,
    describe: Callable[[int], str] = "image {}".format,
) -> dict[str, float]:
    """Figures of `model` over all samples of `batches`: the mean loss per sample and the metric's own.

    The model is in evaluation mode meanwhile and goes back to the mode in which it was.

    Args:
        batches: batches with `images` (N x C x H x W) and `labels`; None for one that is empty.
        loss: answers a mapping with "loss", the mean over a batch.
        processes: those that share the batches; each answers the figures of all samples.
        describe: what errors call the image of an index.

    Raises:
        DataError: there are none.
        TrainingError: an output of the network, the loss or a metric is not finite.
    """
    was_training = model.training
    model.eval()
    metric.reset()
    sums: list[tuple[float, int]] = []  # of the losses of a batch, and its samples
    with paddle.no_grad():
        for batch in batches:
            if batch is None:
                sums.append((0.0, 0))
                continue
            output = model(batch.images)
            require_finite(output, partial(_image, batch, describe))
            metric.update(output, batch.labels)
            count = len(batch.labels)
            sums.append((float(loss(output, batch.labels)["loss"]) * count, count))
    if was_training:
        model.train()
    if processes.size > 1:
        sums = _merge(processes.gather((sums, metric.state())), metric)
    total, samples = 0.0, 0
    for value, count in sums:
        total, samples = total + value, samples + count
    if not samples:
        raise DataError("expected images to evaluate on, received none that can be read")
    figures = {"loss": total / samples, **metric.compute()}
    require_finite_metrics(figures)
    return figures


def _image(batch: Batch, describe: Callable[[int], str], place: int) -> str:
    """What errors call the image at a place of a batch."""
    return describe(int(batch.indices[place]))


def _merge(parts: list[tuple[list[tuple[float, int]], Any]], metric: Metric) -> list[tuple[float, int]]:
    """The sums of all processes in the order in which one alone would have them, and their states in `metric`."""
    metric.reset()
    for _, state in parts:
        metric.merge(state)
    rounds = itertools.zip_longest(*(sums for sums, _ in parts))
    return [entry for entries in rounds for entry in entries if entry is not None]
