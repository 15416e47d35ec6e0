"""The running figures of a training epoch: mean losses and metrics, which a resumed epoch goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from ppzoo.engine.protocols import Metric


class Tally:
    """Sums of the losses over images, and a metric.

    Args:
        metric: the training metric.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.reset()

    def reset(self) -> None:
        self.images = 0
        self.sums: dict[str, float] = {}
        self.metric.reset()

    def add(self, losses: Mapping[str, float], output: Any, labels: paddle.Tensor) -> None:
        """Take in a step's losses (means over its batch) and the network's output."""
        count = len(labels)
        self.images += count
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * count
        self.metric.update(output, labels)

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
