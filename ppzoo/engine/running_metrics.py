"""The running metrics of a training epoch: mean losses and metrics, which a checkpoint saves for a resumed epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import paddle

from ppzoo.engine.protocols import Loss, Metric


class BatchStats(NamedTuple):
    """Contribution of a batch of one process: number of images, mean losses, the metric's state, the losses' weights.

    If there are several losses, "loss" is their sum and has no weight.
    """

    images: int
    losses: dict[str, float]
    metric: Mapping[str, Any]
    weights: dict[str, float]


def loss_weights(loss: Loss, labels: paddle.Tensor) -> dict[str, float]:
    """Return the weights of the mean losses of a batch, by name: those of `loss.weights`, or the number of images.

    The weight of a single loss has the name "loss".
    """
    if not hasattr(loss, "weights"):
        return {"loss": len(labels)}
    weights = dict(loss.weights(labels))
    return {"loss": next(iter(weights.values()))} if len(weights) == 1 else weights


def mean_losses(stats: Sequence[BatchStats]) -> dict[str, float]:
    """Return the weighted means of the losses over batches and processes."""
    if len(stats) == 1:
        return stats[0].losses
    totals = total_weights([one.weights for one in stats])
    sums = {name: math.fsum(one.losses[name] * one.weights[name] for one in stats) for name in totals}
    return _means(sums, totals)


def total_weights(weights: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of the weights of each loss."""
    return {name: sum(one[name] for one in weights) for name in weights[0]}


def _means(sums: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the means of the losses, 0 where the weight is 0, and the sum of several losses as "loss"."""
    means = {name: value / (weights[name] or 1) for name, value in sums.items()}
    return means if "loss" in means else {**means, "loss": sum(means.values())}


class RunningMetrics:
    """The weighted sums of the losses, and a metric.

    Args:
        metric: the training metric.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._batch_metric = copy.deepcopy(metric)
        self.reset()

    def reset(self) -> None:
        self.images = 0
        self.sums: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self.metric.reset()

    def batch_stats(
        self,
        losses: Mapping[str, float],
        output: Any,
        labels: paddle.Tensor,
        weights: Mapping[str, float] | None = None,
    ) -> BatchStats:
        """Return what a batch contributes, without adding it.

        Args:
            losses: mean losses of the batch; the metric is not updated if "loss" is not finite.
            weights: weights of these means; the number of images by default.
        """
        self._batch_metric.reset()
        if math.isfinite(losses["loss"]):
            self._batch_metric.update(output, labels)
        weights = dict.fromkeys(losses, len(labels)) if weights is None else dict(weights)
        return BatchStats(len(labels), dict(losses), self._batch_metric.state(), weights)

    def update(self, stats: Sequence[BatchStats]) -> None:
        """Add the batches of a step, of all processes."""
        for one in stats:
            self.images += one.images
            for name, weight in one.weights.items():
                self.sums[name] = self.sums.get(name, 0.0) + one.losses[name] * weight
                self.weights[name] = self.weights.get(name, 0) + weight
            self.metric.merge(one.metric)

    def compute(self) -> dict[str, float]:
        """Return mean losses and metrics since the last reset."""
        return {**_means(self.sums, self.weights), **self.metric.compute()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "sums": dict(self.sums),
            "weights": dict(self.weights),
            "metric": self.metric.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reset()
        self.images = int(state["images"])
        sums = {name: float(value) for name, value in state["sums"].items()}
        # Older checkpoints have no "weights": each image had weight 1. They have "loss" in addition to several losses.
        weights = state.get("weights", dict.fromkeys([name for name in sums if name != "loss"] or sums, self.images))
        self.weights = {name: float(value) for name, value in weights.items()}
        self.sums = {name: sums[name] for name in self.weights}
        self.metric.merge(state["metric"])
