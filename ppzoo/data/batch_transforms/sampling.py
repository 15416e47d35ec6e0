"""A random choice among batch transforms."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ppzoo.data.batch_transforms.registry import BATCH_TRANSFORMS, BatchTransform, soft_labels
from ppzoo.errors import ConfigError, suggestion


@BATCH_TRANSFORMS.register
class OpSampler:
    """Apply one of several batch transforms, or none, drawn for each batch.

    Args:
        class_num: number of classes.
        MixupOperator, CutmixOperator, FmixOperator: the options of this transform, and its probability
            "prob". If the probabilities sum to less than 1, some batches are not changed.

    Raises:
        ConfigError: no transform, an unknown option, or probabilities that are missing, negative or above 1 in sum.
    """

    def __init__(
        self,
        *,
        class_num: int,
        MixupOperator: dict[str, Any] | None = None,
        CutmixOperator: dict[str, Any] | None = None,
        FmixOperator: dict[str, Any] | None = None,
    ) -> None:
        operators = {"MixupOperator": MixupOperator, "CutmixOperator": CutmixOperator, "FmixOperator": FmixOperator}
        given = {name: options for name, options in operators.items() if options is not None}
        if not given:
            raise ConfigError(f"OpSampler: expected at least one of {', '.join(operators)}, got none")
        self.class_num = class_num
        self.transforms = [_build(name, options, class_num) for name, options in given.items()]
        probabilities = [_probability(name, options) for name, options in given.items()]
        if sum(probabilities) > 1 + 1e-9:
            raise ConfigError(f"OpSampler: expected probabilities with a sum of at most 1, got {sum(probabilities)}")
        self.bounds = np.cumsum(probabilities)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        drawn = int(np.searchsorted(self.bounds, random.random(), side="right"))
        if drawn == len(self.transforms):
            return images, soft_labels(labels, self.class_num)
        return self.transforms[drawn](images, labels, random)


def _build(name: str, options: dict[str, Any], class_num: int) -> BatchTransform:
    transform = BATCH_TRANSFORMS[name]
    own = {key: value for key, value in options.items() if key != "prob"}
    known = inspect.signature(transform).parameters.keys() - {"class_num"}
    for key, value in own.items():
        if key not in known:
            raise ConfigError(f"OpSampler.{name}: unknown option {key!r}{suggestion(key, known | {'prob'})}")
        if not isinstance(value, int | float):
            raise ConfigError(f"OpSampler.{name}.{key}: expected a number, got {value!r}")
    return transform(class_num=class_num, **own)


def _probability(name: str, options: dict[str, Any]) -> float:
    value = options.get("prob")
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"OpSampler.{name}.prob: expected a probability from 0 to 1, got {value!r}")
    return value
