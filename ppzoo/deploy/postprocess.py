"""From probabilities to answers, with PaddleClas's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppzoo.errors import ConfigError
from ppzoo.finite import require_finite
from ppzoo.registry import Registry

POSTPROCESSES: Registry[type] = Registry("postprocess")


@POSTPROCESSES.register
class Topk:
    """The `topk` most probable classes of each image, the best first.

    Args:
        topk: how many, at least 1; all of them where there are fewer.
        labels: class index -> name; the index itself stands for a class without one.

    Raises:
        ConfigError: `topk` out of its range.
    """

    def __init__(self, *, topk: int = 5, labels: Mapping[int, str] | None = None) -> None:
        if not isinstance(topk, (int, np.integer)) or isinstance(topk, bool):
            raise ConfigError(f"topk: expected an integer of at least 1, got {topk!r:.60}")
        if topk < 1:
            raise ConfigError(f"topk: expected at least 1, got {topk}")
        self.topk = int(topk)
        self.labels = labels or {}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """`class_ids`, `scores` and `label_names` of each row of N x class_num."""
        require_finite(probabilities)
        return [self._answer(row) for row in probabilities]

    def _answer(self, row: np.ndarray) -> dict[str, Any]:
        ids, scores = _top_k(row, min(self.topk, len(row)))
        names = [self.labels.get(index, str(index)) for index in ids]
        return {"class_ids": ids, "scores": scores, "label_names": names}


@POSTPROCESSES.register
class MultiLabelThreshOutput:
    """The labels whose probability is `threshold` or more, in the order of the classes.

    Args:
        threshold: 0 to 1.
        labels: class index -> name; the index itself stands for a class without one.

    Raises:
        ConfigError: a value out of its range.
    """

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
        model_name: the network; `Arch.infer_model_name` says the same.
        key: accepted for PaddleClas's files where it is null: networks here answer scores.

    Raises:
        ConfigError: a `key`, or an option that `func` does not have.
    """

    def __init__(
        self,
        *,
        func: str = "Topk",
        model_name: str = "Student",
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


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold: expected 0 to 1, got {threshold}")


def _top_k(probabilities: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """The `count` largest and where they are, the largest first, the first first among equals.

    One maximum after the other: an inference leaves nothing in the caches, where sorting takes four times as long.
    """
    left = probabilities.copy()
    places, values = [], []
    for _ in range(count):
        place = int(left.argmax())
        places.append(place)
        values.append(float(left[place]))
        left[place] = -np.inf
    return places, values


def parse_postprocess(section: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of the post-processing in the section `PostProcess` of an `inference.yml`.

    The label names are among the options, as "label_list".

    Raises:
        KeyError: there is none.
    """
    for name, options in section.items():
        if name in POSTPROCESSES:
            return name, {**options, "label_list": options["label_list"]}
    raise KeyError(next(iter(POSTPROCESSES)))
