"""Post-processing: from probabilities to predictions, with PaddleClas's names and keys."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppzoo.deploy.paddlex import default_labels
from ppzoo.errors import ConfigError, errors_with_key
from ppzoo.finite import require_finite
from ppzoo.registry import Registry

POSTPROCESSES: Registry[type] = Registry("postprocessing step")


@POSTPROCESSES.register
class Topk:
    """The `topk` most probable classes of each image, most probable first.

    Args:
        topk: number of classes, at least 1; all classes if there are fewer.
        labels: class index -> name; a class without a name gets its index as name.

    Raises:
        ConfigError: `topk` is out of range.
    """

    def __init__(self, *, topk: int = 5, labels: Mapping[int, str] | None = None) -> None:
        if not isinstance(topk, (int, np.integer)) or isinstance(topk, bool):
            raise ConfigError(f"topk: expected an integer of at least 1, got {topk!r:.60}")
        if topk < 1:
            raise ConfigError(f"topk: expected at least 1, got {topk}")
        self.topk = int(topk)
        self.labels = labels or {}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """Return `class_ids`, `scores` and `label_names` for each row of N x class_num probabilities."""
        require_finite(probabilities)
        return [make_prediction(*_top_k(row, min(self.topk, len(row))), self.labels) for row in probabilities]


@POSTPROCESSES.register
class MultiLabelThreshOutput:
    """All classes whose probability is at least `threshold`, in the order of their indices.

    Args:
        threshold: 0 to 1; or a list of one value per class; or, as in PaddleX's exports, a mapping such as
            {"default": 0.5, "3": 0.7}, in which class 3 has the threshold 0.7 and all other classes have 0.5.
        labels: class index -> name; a class without a name gets its index as name.

    Raises:
        ConfigError: `threshold` is out of range.
    """

    label_kind = "multi"

    def __init__(
        self,
        *,
        threshold: float | list[float] | dict[str, float] = 0.5,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        values = threshold.values() if isinstance(threshold, dict) else np.ravel(threshold)
        for value in values:
            check_threshold(value)
        if isinstance(threshold, dict):
            _check_keys(threshold)
        self.threshold = threshold
        self.labels = labels or {}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """Return `class_ids`, `scores` and `label_names`, which can be empty, for each row of N x class_num."""
        require_finite(probabilities)
        predictions = []
        for row in probabilities:
            ids = np.flatnonzero(row >= self._thresholds(len(row))).tolist()
            predictions.append(make_prediction(ids, [float(row[index]) for index in ids], self.labels))
        return predictions

    def _thresholds(self, count: int) -> float | np.ndarray:
        """Return the threshold, or those of `count` classes."""
        if isinstance(self.threshold, dict):
            values = np.full(count, self.threshold["default"], np.float64)
            for key in self.threshold.keys() - {"default"}:
                if int(key) >= count:
                    raise ConfigError(f"threshold: expected indices of {count} classes, got {key!r}")
                values[int(key)] = self.threshold[key]
            return values
        if isinstance(self.threshold, list) and len(self.threshold) != count:
            raise ConfigError(f"threshold: expected {count} values, one per class, got {len(self.threshold)}")
        return np.array(self.threshold) if isinstance(self.threshold, list) else self.threshold


@POSTPROCESSES.register
class MultiLabelTopk(MultiLabelThreshOutput):
    """PaddleClas's older name for `MultiLabelThreshOutput` with a threshold of 0.5.

    Args:
        topk: accepted for PaddleClas's configurations; it has no effect, as in PaddleClas.
        labels: class index -> name; a class without a name gets its index as name.
    """

    def __init__(self, *, topk: int | None = None, labels: Mapping[int, str] | None = None) -> None:
        super().__init__(labels=labels)


@POSTPROCESSES.register
class ThreshOutput:
    """Binary classification: class 1 if its probability is at least `threshold`, else class 0.

    Args:
        threshold: 0 to 1.
        label_0: name of class 0; by default its name in the network's list of classes.
        label_1: name of class 1; by default its name in the network's list of classes.

    Raises:
        ConfigError: `threshold` is out of range, or the network does not have two classes.
    """

    required_classes = 2

    def __init__(
        self,
        *,
        threshold: float,
        label_0: str | None = None,
        label_1: str | None = None,
        labels: Mapping[int, str] | None = None,
    ) -> None:
        check_threshold(threshold)
        names = {index: name for index, name in enumerate((label_0, label_1)) if name is not None}
        self.threshold = threshold
        self.labels = {**(labels or {}), **names}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        if probabilities.shape[1] != 2:
            raise ConfigError(f"ThreshOutput: expected a network of 2 classes, got {probabilities.shape[1]}")
        require_finite(probabilities)
        predictions = []
        for row in probabilities:
            index = int(row[1] >= self.threshold)
            predictions.append(make_prediction([index], [float(row[index])], self.labels))
        return predictions


@POSTPROCESSES.register
class DistillationPostProcess:
    """Apply another postprocessing step to the output of one network of a distillation.

    Args:
        func: name of the other postprocessing step; `topk` and `threshold` are its options.
        model_name: ignored; the network is that of `Arch.infer_model_name`.
        key: must be null, as in PaddleClas's files: the networks output class scores, not dictionaries.

    Raises:
        ConfigError: `key` is not null, or `func` does not have an option that is set.
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
            raise ConfigError(f"key: expected null, since the networks output class scores, got {key!r}")
        func, options = self.for_single_network(func=func, topk=topk, threshold=threshold)
        with errors_with_key("func"):
            entry = POSTPROCESSES[func]
        unknown = options.keys() - inspect.signature(entry).parameters.keys()
        if unknown:
            raise ConfigError(f"{min(unknown)}: expected null, since {func} has no such option, got a value")
        self.postprocess = entry(**options, labels=labels)

    @staticmethod
    def for_single_network(*, func: str = "Topk", **options: Any) -> tuple[str, dict[str, Any]]:
        """Return name and options of the other postprocessing step, from the options of this one."""
        return func, {key: options[key] for key in ("topk", "threshold") if options.get(key) is not None}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        return self.postprocess(probabilities)


def parse_postprocess(section: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and options of the postprocessing in the section `PostProcess` of an `inference.yml`.

    The options include the label names as "label_list", which is empty if the postprocessing has default names.

    Raises:
        KeyError: the section has no postprocessing step, or no label names.
    """
    for name, options in section.items():
        if name in POSTPROCESSES:
            options = {} if options is None else options
            labels = default_labels(name, options) if options.get("label_list") is None else None
            return name, {**options, "label_list": options["label_list"] if labels is None else labels}
    raise KeyError(next(iter(POSTPROCESSES)))


def make_prediction(ids: list[int], scores: list[float], labels: Mapping[int, str]) -> dict[str, Any]:
    """Return a prediction with these classes; a class without a name gets its index as name."""
    return {"class_ids": ids, "scores": scores, "label_names": [labels.get(index, str(index)) for index in ids]}


def check_threshold(threshold: float, name: str = "threshold") -> None:
    if not 0 <= threshold <= 1:
        raise ConfigError(f"{name}: expected 0 to 1, got {threshold}")


def _check_keys(threshold: Mapping[str, float]) -> None:
    if "default" not in threshold:
        raise ConfigError(f"threshold: expected a value for 'default', got only {sorted(threshold)}")
    wrong = next((key for key in threshold if key != "default" and not key.isdecimal()), None)
    if wrong is not None:
        raise ConfigError(f"threshold: expected 'default' and indices of classes, got {wrong!r}")


def _top_k(probabilities: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """Return indices and values of the `k` largest probabilities, in descending order; ties go to the lower index.

    The maxima are found one after another: right after an inference, when the caches are cold, sorting is four times as
    slow.
    """
    remaining = probabilities.copy()
    indices, values = [], []
    for _ in range(k):
        index = int(remaining.argmax())
        indices.append(index)
        values.append(float(remaining[index]))
        remaining[index] = -np.inf
    return indices, values
