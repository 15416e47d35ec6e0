"""Answers that hold where a probability reaches a threshold: several labels an image, or yes and no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppzoo.deploy.postprocess import POSTPROCESSES
from ppzoo.errors import ConfigError
from ppzoo.finite import require_finite


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold: expected 0 to 1, got {threshold}")


@POSTPROCESSES.register
class MultiLabelThreshOutput:
    """The labels whose probability is `threshold` or more, in the order of the classes.

    Args:
        threshold: 0 to 1.
        labels: class index -> name; the index itself stands for a class without one.

    Raises:
        ConfigError: a value out of its range.
    """

    label_kind = "multi"

    def __init__(self, *, threshold: float = 0.5, labels: Mapping[int, str] | None = None) -> None:
        _check_threshold(threshold)
        self.threshold = threshold
        self.labels = labels or {}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """`class_ids`, `scores` and `label_names` of each row of N x class_num; none where nothing reaches it."""
        require_finite(probabilities)
        answers = []
        for row in probabilities:
            ids = np.flatnonzero(row >= self.threshold).tolist()
            answers.append(
                {
                    "class_ids": ids,
                    "scores": [float(row[index]) for index in ids],
                    "label_names": [self.labels.get(index, str(index)) for index in ids],
                }
            )
        return answers


@POSTPROCESSES.register
class MultiLabelTopk(MultiLabelThreshOutput):
    """PaddleClas's older name of `MultiLabelThreshOutput` at 0.5; its `topk` never had an effect, and has none here."""

    def __init__(self, *, topk: int | None = None, labels: Mapping[int, str] | None = None) -> None:
        super().__init__(labels=labels)


@POSTPROCESSES.register
class ThreshOutput:
    """Of two classes the second where its probability is `threshold` or more, else the first.

    Args:
        threshold: 0 to 1.
        label_0, label_1: names of the two; by default what `labels` says.

    Raises:
        ConfigError: `threshold` out of its range, or another number of classes.
    """

    def __init__(
        self,
        *,
        threshold: float,
        label_0: str | None = None,
        label_1: str | None = None,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        _check_threshold(threshold)
        named = {index: name for index, name in enumerate((label_0, label_1)) if name is not None}
        self.threshold = threshold
        self.labels = {**(labels or {}), **named}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        if probabilities.shape[1] != 2:
            raise ConfigError(f"ThreshOutput: expected a network of 2 classes, got {probabilities.shape[1]}")
        require_finite(probabilities)
        answers = []
        for row in probabilities:
            index = int(row[1] >= self.threshold)
            name = self.labels.get(index, str(index))
            answers.append({"class_ids": [index], "scores": [float(row[index])], "label_names": [name]})
        return answers


@POSTPROCESSES.register
class DistillationPostProcess:
    """The answer of the network that a distillation is about, by another post-processing.

    Args:
        func: name of that; `topk` and `threshold` are its options.
        model_name: the network; that of `Arch.infer_model_name` is used in any case.
        key: accepted for PaddleClas's files where it is null: networks here answer scores.

    Raises:
        ConfigError: a `key`, or an option that `func` does not have.
    """

    networks = "several"
    network_options = ("model_name",)

    def __init__(
        self,
        *,
        func: str = "Topk",
        model_name: str | None = None,
        key: str | None = None,
        topk: int | None = None,
        threshold: float | None = None,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        if key is not None:
            raise ConfigError(f"key: expected null, since the networks answer class scores, got {key!r}")
        given = {"topk": topk, "threshold": threshold}
        options = {name: value for name, value in given.items() if value is not None}
        try:
            self.answer = POSTPROCESSES[func](**options, labels=labels)
        except TypeError as error:
            raise ConfigError(f"func {func}: {error}") from error

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        return self.answer(probabilities)
