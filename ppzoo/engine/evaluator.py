"""Evaluation: model, loader, loss and metric in, figures out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import paddle

from ppzoo.engine.distributed import SINGLE_PROCESS, ProcessGroup
from ppzoo.engine.protocols import Batch, Loss, Metric
from ppzoo.engine.running_metrics import weights_of
from ppzoo.errors import DataError
from ppzoo.finite import require_finite, require_finite_metrics


class Part(NamedTuple):
    """What one batch adds: its number of images, and of each loss its mean and what that weighs."""

    images: int
    losses: dict[str, tuple[float, float]]


def evaluate(
    model: paddle.nn.Layer,
    batches: Iterable[Batch | None],
    loss: Loss,
    metric: Metric,
    processes: ProcessGroup = SINGLE_PROCESS,
    describe: Callable[[int], str] = "image {}".format,
) -> dict[str, float]:
    """Figures of `model` over all samples of `batches`: the mean loss, however they are batched, and the metric's own.

    The model is in evaluation mode meanwhile and goes back to the mode in which it was.

    Args:
        batches: batches with `images` (N x C x H x W) and `labels`; None for one that is empty.
        loss: returns a mapping with "loss", the mean over a batch, as for `Trainer`.
        processes: those that share the batches; each answers the figures of all samples.
        describe: what errors call the image of an index.

    Raises:
        DataError: there are no samples, or none that counts.
        TrainingError: an output of the network, the loss or a metric is not finite.
    """
    was_training = model.training
    model.eval()
    metric.reset()
    parts: list[Part] = []
    with paddle.no_grad():
        for batch in batches:
            if batch is None:
                parts.append(Part(0, {}))
                continue
            output = model(batch.images)
            require_finite(output, partial(_image, batch, describe))
            metric.update(output, batch.labels)
            means, weights = loss(output, batch.labels), weights_of(loss, batch.labels)
            parts.append(
                Part(len(batch.labels), {name: (float(means[name]), float(weights[name])) for name in weights})
            )
    if was_training:
        model.train()
    if processes.size > 1:
        parts = _merge(processes.gather((parts, metric.state())), metric)
    if not sum(part.images for part in parts):
        raise DataError("expected images to evaluate on, got none that can be read")
    figures = {"loss": _mean_loss(parts), **metric.compute()}
    require_finite_metrics(figures)
    if metric.main and metric.main not in figures:
        raise _nothing_counts(metric.main)
    return figures


def _image(batch: Batch, describe: Callable[[int], str], place: int) -> str:
    """What errors call the image at a place of a batch."""
    return describe(int(batch.indices[place]))


def _mean_loss(parts: list[Part]) -> float:
    """The sum of the losses, each its mean over all samples."""
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for part in parts:
        for name, (mean, weight) in part.losses.items():
            sums[name] = sums.get(name, 0.0) + mean * weight
            weights[name] = weights.get(name, 0.0) + weight
    for name, weight in weights.items():
        if not weight:
            raise _nothing_counts(name)
    return sum(value / weights[name] for name, value in sums.items())


def _nothing_counts(name: str) -> DataError:
    return DataError(
        f"{name}: expected evaluation data with a label that counts (known, and of a class with a weight above 0),"
        " got none"
    )


def _merge(shares: list[tuple[list[Part], Any]], metric: Metric) -> list[Part]:
    """The parts of all processes in the order in which one alone would have them, and their states in `metric`."""
    metric.reset()
    for _, state in shares:
        metric.merge(state)
    rounds = itertools.zip_longest(*(parts for parts, _ in shares))
    return [part for one_round in rounds for part in one_round if part is not None]
