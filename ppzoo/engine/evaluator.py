"""Evaluate a model: the mean loss and the metrics over all samples of a loader."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import paddle

from ppzoo.engine.distributed import SINGLE_PROCESS, ProcessGroup
from ppzoo.engine.protocols import Batch, EvaluationObserver, Loss, Metric
from ppzoo.engine.running_metrics import loss_weights
from ppzoo.errors import DataError
from ppzoo.finite import require_finite, require_finite_metrics
from ppzoo.layers import evaluation_mode


class BatchLosses(NamedTuple):
    """Contribution of a batch: its number of images, and the mean and weight of each loss."""

    images: int
    losses: dict[str, tuple[float, float]]


def evaluate(
    model: paddle.nn.Layer,
    batches: Iterable[Batch | None],
    loss: Loss,
    metric: Metric,
    processes: ProcessGroup = SINGLE_PROCESS,
    describe: Callable[[int], str] = "image {}".format,
    observers: Sequence[EvaluationObserver] = (),
) -> dict[str, float]:
    """Return the metrics of `model` over all samples and "loss", the mean loss; they do not depend on the batch size.

    The model is put into evaluation mode, and back into its own mode afterwards.

    Args:
        batches: batches with `images` (N x C x H x W, or a list of such views for `TtaModel`), `labels` and `indices`;
            None for a batch without readable images.
        loss: returns a mapping with "loss", the mean over a batch, as for `Trainer`.
        processes: the processes that share the batches; all return the results of all samples.
        describe: returns the name of the image with the given index, for error messages.
        observers: receive each batch and the model's output for it; all processes have the same observers.

    Raises:
        DataError: there are no samples, or all their labels are ignored.
        TrainingError: an output of the network, the loss or a metric is not finite.
    """
    metric.reset()
    for observer in observers:
        observer.reset()
    parts: list[BatchLosses] = []
    with evaluation_mode(model), paddle.no_grad():
        for batch in batches:
            if batch is None:
                parts.append(BatchLosses(0, {}))
                continue
            output = model(batch.images)
            require_finite(output, partial(_describe_image, batch, describe))
            metric.update(output, batch.labels)
            for observer in observers:
                observer.update(output, batch)
            means, weights = loss(output, batch.labels), loss_weights(loss, batch.labels)
            weighted = {name: (float(means[name]), float(weights[name])) for name in weights}
            parts.append(BatchLosses(len(batch.labels), weighted))
    if processes.size > 1:
        parts = _merge(processes.all_gather((parts, metric.state())), metric)
        for observer in observers:
            observer.merge(processes.all_gather(observer.state()))
    if not sum(part.images for part in parts):
        raise DataError(
            "expected images to evaluate on, got none that can be read; find the causes with `ppzoo data check CONFIG`"
        )
    results = {"loss": _mean_loss(parts), **metric.compute()}
    require_finite_metrics(results)
    if metric.main and metric.main not in results:
        raise _no_counted_labels(metric.main)
    return results


def _describe_image(batch: Batch, describe: Callable[[int], str], position: int) -> str:
    """Return the name of the image at a position of a batch."""
    return describe(int(batch.indices[position]))


def _mean_loss(parts: list[BatchLosses]) -> float:
    """Return the sum of the losses, each averaged over all samples."""
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for part in parts:
        for name, (mean, weight) in part.losses.items():
            sums[name] = sums.get(name, 0.0) + mean * weight
            weights[name] = weights.get(name, 0.0) + weight
    for name, weight in weights.items():
        if not weight:
            raise _no_counted_labels(name)
    return sum(value / weights[name] for name, value in sums.items())


def _no_counted_labels(name: str) -> DataError:
    return DataError(f"{name}: expected evaluation data with known labels of classes with a weight above 0, got none")


def _merge(shares: list[tuple[list[BatchLosses], Any]], metric: Metric) -> list[BatchLosses]:
    """Return the losses in the order in which a single process computes them, and merge all metrics into `metric`."""
    metric.reset()
    for _, state in shares:
        metric.merge(state)
    rounds = itertools.zip_longest(*(parts for parts, _ in shares))
    return [part for one_round in rounds for part in one_round if part is not None]
