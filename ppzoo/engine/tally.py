"""The running figures of a training epoch: mean losses and metrics, which a resumed epoch goes on with."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import paddle

from ppzoo.engine.protocols import Metric


class Part(NamedTuple):
    """What one process saw in a step: number of images, losses (means over them), and the metric's state of them."""

    images: int
    losses: dict[str, float]
    metric: Mapping[str, Any]


def mean_losses(parts: Sequence[Part]) -> dict[str, float]:
    """The means of a step over the images of all processes."""
    if len(parts) == 1:
        return parts[0].losses
    total = sum(part.images for part in parts)
    return {name: math.fsum(part.losses[name] * part.images for part in parts) / total for name in parts[0].losses}


class Tally:
    """Sums of the losses over images, and a metric.

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
        self.metric.reset()

    def part(self, losses: Mapping[str, float], output: Any, labels: paddle.Tensor) -> Part:
        """What this process saw in a step: its losses (means over its images) and the network's output."""
        self._step_metric.reset()
        if math.isfinite(losses["loss"]):
            self._step_metric.update(output, labels)
        return Part(len(labels), dict(losses), self._step_metric.state())

    def add(self, parts: Sequence[Part]) -> None:
        """Take in a step, as all processes saw it."""
        for part in parts:
            self.images += part.images
            for name, value in part.losses.items():
                self.sums[name] = self.sums.get(name, 0.0) + value * part.images
            self.metric.merge(part.metric)

    def figures(self) -> dict[str, float]:
        """Mean losses and metrics over everything since the last reset."""
        means = {name: value / self.images for name, value in self.sums.items()}
        return {**means, **self.metric.compute()}

    def state(self) -> dict[str, Any]:
        return {"images": self.images, "sums": dict(self.sums), "metric": self.metric.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.reset()
        self.images = int(state["images"])
        self.sums = {name: float(value) for name, value in state["sums"].items()}
        self.metric.merge(state["metric"])
