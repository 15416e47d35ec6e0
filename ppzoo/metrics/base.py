"""What all metrics share: they gather counts, so that uneven batches and several processes give the exact figure."""

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
    """Figures of a model over any number of batches.

    `update` takes a batch; `compute` answers the figures over all that came since `reset`. `state` is what was
    gathered; `merge` takes in the state of another process, in any order.

    Attributes:
        higher_is_better: whether a larger main figure is a better one.
    """

    higher_is_better = True

    def __init__(self) -> None:
        self._state: State = {}

    @property
    def main(self) -> str:
        """Key of the figure that says how good the model is."""
        return type(self).__name__

    def reset(self) -> None:
        """Forget all batches."""
        self._state = {}

    def update(self, output: Any, label: paddle.Tensor) -> None:
        """Take in what the network answers for a batch, and its labels."""
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        """The metrics; without those for which no label counts.

        Raises:
            DataError: nothing was taken in.
        """
        raise NotImplementedError

    def state(self) -> State:
        """A copy of what was gathered; empty before the first batch."""
        return {key: value.copy() for key, value in self._state.items()}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        """Take in what another one, of the same options, has gathered."""
        for key, value in state.items():
            self._state[key] = self._state[key] + value if key in self._state else np.array(value)

    def gathered(self) -> State:
        """What was gathered, where there must be something."""
        if not self._state:
            raise DataError(f"{type(self).__name__}: expected one sample or more, got none")
        return self._state


class ScoreMetric(Metric):
    """A metric that needs every sample's scores (N x C) and labels (N x C): its state grows with the data."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: dict[str, list[np.ndarray]] = {}  # of the batches that came since they were last put together

    def reset(self) -> None:
        super().reset()
        self._pieces = {}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        for key, value in state.items():
            self._pieces.setdefault(key, []).append(np.array(value))

    def state(self) -> State:
        self._put_together()
        return super().state()

    def gathered(self) -> State:
        self._put_together()
        return super().gathered()

    def _put_together(self) -> None:
        for key, pieces in self._pieces.items():
            before = [self._state[key]] if key in self._state else []
            self._state[key] = np.concatenate([*before, *pieces])
        self._pieces = {}


def scores_of(output: Any) -> paddle.Tensor:
    """The class scores, N x C, of a tensor or of a mapping with "logits".

    Raises:
        TrainingError: they are not finite.
    """
    scores = output["logits"] if isinstance(output, dict) else output
    if isinstance(scores, (list, tuple)):
        raise ConfigError("expected a network with one output, got several; GoogLeNetTopkAcc takes three")
    scores = scores.detach().astype("float32")
    require_finite(scores)
    return scores


def class_indices(label: paddle.Tensor, class_num: int) -> paddle.Tensor:
    """Labels as indices, N x 1: of N or N x 1 indices, or of N x C soft labels the class with the largest share."""
    if label.ndim == 2 and label.shape[1] == class_num and (class_num > 1 or label.is_floating_point()):
        return label.argmax(axis=1, keepdim=True)
    return label.reshape([-1, 1]).astype("int64")


def binary_labels(label: paddle.Tensor, class_num: int) -> np.ndarray:
    """Labels of N x C, or N x rows x C whose first row counts, as N x C: 1, 0, or -1 for one below 0, which is unknown.

    Raises:
        DataError: labels of another shape.
    """
    values = label.numpy()
    values = values[:, 0] if values.ndim == 3 else values
    if values.ndim != 2 or values.shape[1] != class_num:
        raise DataError(f"expected labels of N x {class_num} (the network's classes), got {list(label.shape)}")
    return np.where(values < 0, -1, values > 0.5).astype(np.int8)
