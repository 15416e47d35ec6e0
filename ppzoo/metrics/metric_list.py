"""Several metrics in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from ppzoo.metrics.base import Metric, State


class MetricList(Metric):
    """Several metrics of the same batches; the main metric is that of the first one.

    An empty list accepts all batches and computes no metric.

    Args:
        metrics: the metrics.
        network: if the output is that of several networks: the name of the network whose output is used for metrics of
            one network.
    """

    def __init__(self, metrics: Sequence[Metric], *, network: str | None = None) -> None:
        super().__init__()
        self.network = network
        self.metrics = list(metrics)
        self.higher_is_better = self.metrics[0].higher_is_better if self.metrics else True

    @property
    def main(self) -> str:
        """Key of the main metric; "" without any metric."""
        return self.metrics[0].main if self.metrics else ""

    def reset(self) -> None:
        for metric in self.metrics:
            metric.reset()

    def update(self, output: Any, label: paddle.Tensor) -> None:
        own = output if self.network is None else output[self.network]
        for metric in self.metrics:
            metric.update(own if metric.networks == "one" else output, label)

    def compute(self) -> dict[str, float]:
        """Return all metrics by name, with "_2" if the name is taken."""
        computed: dict[str, float] = {}
        for metric in self.metrics:
            for key, value in metric.compute().items():
                name, number = key, 1
                while name in computed:
                    number += 1
                    name = f"{key}_{number}"
                computed[name] = value
        return computed

    def state(self) -> State:
        return {f"{n}.{key}": value for n, metric in enumerate(self.metrics) for key, value in metric.state().items()}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        for n, metric in enumerate(self.metrics):
            prefix = f"{n}."
            metric.merge({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})
