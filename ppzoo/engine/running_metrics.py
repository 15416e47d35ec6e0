"""The running figures of a training epoch: mean losses and metrics, which a resumed epoch goes on with."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import paddle

from ppzoo.engine.protocols import Loss, Metric


class Part(NamedTuple):
    """What one process saw in a step: number of images, losses (means), the metric's state, and what the means weigh.

    A loss without a weight, "loss" beside several others, is the sum of those with one.
    """

    images: int
    losses: dict[str, float]
    metric: Mapping[str, Any]
    weights: dict[str, float]


def weights_of(loss: Loss, labels: paddle.Tensor) -> dict[str, float]:
    """What the means of a loss over a batch weigh, by name: what `loss.weights` says, else the samples.

    Of a single loss it is under the name of the sum, "loss".
    """
    if not hasattr(loss, "weights"):
        return {"loss": len(labels)}
    weights = dict(loss.weights(labels))
    return {"loss": next(iter(weights.values()))} if len(weights) == 1 else weights


def mean_losses(parts: Sequence[Part]) -> dict[str, float]:
    """The means of a step over what all processes saw."""
    if len(parts) == 1:
        return parts[0].losses
    totals = total_weights([part.weights for part in parts])
    sums = {name: math.fsum(part.losses[name] * part.weights[name] for part in parts) for name in totals}
    return _means(sums, totals)


def total_weights(weights: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sums of the weights of each loss."""
    return {name: sum(one[name] for one in weights) for name in weights[0]}


def _means(sums: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Means of the losses, 0 where nothing counts, and of several losses their sum."""
    means = {name: value / (weights[name] or 1) for name, value in sums.items()}
    return means if "loss" in means else {**means, "loss": sum(means.values())}


class RunningMetrics:
    """Sums of the losses by their weights, and a metric.

    Args:
        metric: the training metric.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._step_metric = copy.deepcopy(metric)
        self.reset()

    def reset(self) -> None:
        self.images = 0
        self.sums: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self.metric.reset()

    def part(
        self,
        losses: Mapping[str, float],
        output: Any,
        labels: paddle.Tensor,
        weights: Mapping[str, float] | None = None,
    ) -> Part:
        """What this process saw in a step: its losses (means, by default over its images) and the network's output."""
        self._step_metric.reset()
        if math.isfinite(losses["loss"]):
            self._step_metric.update(output, labels)
        weights = dict.fromkeys(losses, len(labels)) if weights is None else dict(weights)
        return Part(len(labels), dict(losses), self._step_metric.state(), weights)

    def add(self, parts: Sequence[Part]) -> None:
        """Take in a step, as all processes saw it."""
        for part in parts:
            self.images += part.images
            for name, weight in part.weights.items():
                self.sums[name] = self.sums.get(name, 0.0) + part.losses[name] * weight
                self.weights[name] = self.weights.get(name, 0) + weight
            self.metric.merge(part.metric)

    def figures(self) -> dict[str, float]:
        """Mean losses and metrics over everything since the last reset."""
        return {**_means(self.sums, self.weights), **self.metric.compute()}

    def state(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "sums": dict(self.sums),
            "weights": dict(self.weights),
            "metric": self.metric.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.reset()
        self.images = int(state["images"])
        sums = {name: float(value) for name, value in state["sums"].items()}
        # Checkpoints from before losses had weights: each image counted as one, and the sum of several losses was kept.
        weights = state.get("weights", dict.fromkeys([name for name in sums if name != "loss"] or sums, self.images))
        self.weights = {name: float(value) for name, value in weights.items()}
        self.sums = {name: sums[name] for name in self.weights}
        self.metric.merge(state["metric"])
