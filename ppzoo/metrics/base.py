"""The base classes of metrics.

Metrics accumulate counts, or the scores of all samples (`ScoreMetric`), but no averages of batches. They are therefore
exact over uneven batches and processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from ppzoo.errors import ConfigError, DataError
from ppzoo.finite import require_finite
from ppzoo.registry import Registry

METRICS: Registry[type[Metric]] = Registry("metric")

State = dict[str, np.ndarray]


class Metric:
    """Metrics of a model over any number of batches.

    `update` adds a batch; `compute` returns the metrics over all batches since `reset`. `state` returns what was
    accumulated; `merge` adds the state of another process, in any order.

    Attributes:
        higher_is_better: whether a higher value of the main metric is better; for `label_kind`, `required_classes` and
            other class attributes see `ppzoo.config.component_types.Component`.
    """

    higher_is_better = True
    networks = "one"  # "several": the output is a dictionary of network name -> output

    def __init__(self) -> None:
        self._state: State = {}

    @property
    def main(self) -> str:
        """Key of the main metric, by which models are compared."""
        return type(self).__name__

    def reset(self) -> None:
        """Clear the state."""
        self._state = {}

    def update(self, output: Any, label: paddle.Tensor) -> None:
        """Add the network's output for a batch, and its labels."""
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        """Return the metrics by name; a metric is omitted if no sample has a label for it.

        Raises:
            DataError: no sample was added.
        """
        raise NotImplementedError

    def state(self) -> State:
        """Return a copy of the accumulated state; empty before the first batch."""
        return {key: value.copy() for key, value in self._state.items()}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        """Add the state of another metric with the same options."""
        for key, value in state.items():
            self._state[key] = self._state[key] + value if key in self._state else np.array(value)

    def accumulated(self) -> State:
        """Return the accumulated state.

        Raises:
            DataError: no sample was added.
        """
        if not self._state:
            raise DataError(f"{type(self).__name__}: expected at least one sample, got none")
        return self._state


class ScoreMetric(Metric):
    """A metric that needs the scores and labels of all samples; its state grows with the data."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: dict[str, list[np.ndarray]] = {}  # arrays of the batches that are not concatenated yet

    def reset(self) -> None:
        super().reset()
        self._pieces = {}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        for key, value in state.items():
            self._pieces.setdefault(key, []).append(np.array(value))

    def state(self) -> State:
        self._concatenate()
        return super().state()

    def accumulated(self) -> State:
        self._concatenate()
        return super().accumulated()

    def _concatenate(self) -> None:
        for key, pieces in self._pieces.items():
            before = [self._state[key]] if key in self._state else []
            self._state[key] = np.concatenate([*before, *pieces])
        self._pieces = {}


def scores_of(output: Any) -> paddle.Tensor:
    """Return the class scores, N x C, from a tensor or a dictionary with "logits".

    Raises:
        ConfigError: the network has several outputs.
        TrainingError: the scores are not finite.
    """
    scores = output["logits"] if isinstance(output, dict) else output
    if isinstance(scores, (list, tuple)):
        raise ConfigError("expected a network with one output, got several; use GoogLeNetTopkAcc for GoogLeNet")
    scores = scores.detach().astype("float32")
    require_finite(scores)
    return scores


def hard_labels(label: paddle.Tensor, class_num: int) -> paddle.Tensor:
    """Return labels as N x 1 indices, from N or N x 1 indices, or from N x C soft labels (the most probable class)."""
    if label.ndim == 2 and label.shape[1] == class_num and (class_num > 1 or label.is_floating_point()):
        return label.argmax(axis=1, keepdim=True)
    return label.reshape([-1, 1]).astype("int64")


def binary_labels(label: paddle.Tensor, class_num: int) -> np.ndarray:
    """Return multi-label targets as N x C int8: 1, 0, or -1 for an unknown label (any label below 0).

    Args:
        label: N x C, or N x rows x C, of which the first row is used.

    Raises:
        DataError: labels of another shape.
    """
    values = label.numpy()
    values = values[:, 0] if values.ndim == 3 else values
    if values.ndim != 2 or values.shape[1] != class_num:
        raise DataError(f"expected labels of shape N x {class_num} (the network's classes), got {list(label.shape)}")
    return np.where(values < 0, -1, values > 0.5).astype(np.int8)
