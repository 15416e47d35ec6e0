"""Regularizers and gradient clipping, which the configuration of an optimizer contains as dictionaries."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from paddle import nn
from paddle import regularizer as paddle_regularizer

from ppzoo.errors import ConfigError, suggestion
from ppzoo.optim.checks import require
from ppzoo.registry import Registry

T = TypeVar("T")

REGULARIZERS: Registry[type] = Registry("regularizer")
CLIPS: Registry[type] = Registry("gradient clip")


@REGULARIZERS.register
class L1(paddle_regularizer.L1Decay):
    """Adds coeff * sign(w) to the gradient."""

    def __init__(self, *, coeff: float = 0.0) -> None:
        require(coeff >= 0, "coeff", "a number of at least 0", coeff)
        super().__init__(float(coeff))


@REGULARIZERS.register
class L2(paddle_regularizer.L2Decay):
    """Adds coeff * w to the gradient."""

    def __init__(self, *, coeff: float = 0.0) -> None:
        require(coeff >= 0, "coeff", "a number of at least 0", coeff)
        super().__init__(float(coeff))


@CLIPS.register
class ClipGradByGlobalNorm(nn.ClipGradByGlobalNorm):
    """Scales all gradients by one factor, so that their global norm is at most `clip_norm`."""

    def __init__(self, *, clip_norm: float) -> None:
        require(clip_norm > 0, "clip_norm", "a number above 0", clip_norm)
        super().__init__(clip_norm)


@CLIPS.register
class ClipGradByNorm(nn.ClipGradByNorm):
    """Scales each gradient separately, so that its norm is at most `clip_norm`."""

    def __init__(self, *, clip_norm: float) -> None:
        require(clip_norm > 0, "clip_norm", "a number above 0", clip_norm)
        super().__init__(clip_norm)


@CLIPS.register
class ClipGradByValue(nn.ClipGradByValue):
    """Clips each element of the gradients to [min, max]; `min` is -max by default."""

    def __init__(self, *, max: float, min: float | None = None) -> None:
        require(max > 0, "max", "a number above 0", max)
        require(min is None or min < max, "min", f"a number below max ({max})", min)
        super().__init__(max, min)


def from_mapping(registry: Registry[type[T]], mapping: dict[str, Any]) -> T:
    """Create the object for {"name": NAME, **options}; options are numbers, or null if that is the default.

    Raises:
        ConfigError: a missing or unknown name or option, or an option that is not a number or is out of its range.
    """
    if "name" not in mapping:
        raise ConfigError(f"expected a mapping with a name ({', '.join(registry)}), got {mapping!r:.60}")
    options = {key: value for key, value in mapping.items() if key != "name"}
    entry = registry[mapping["name"]]
    parameters = inspect.signature(entry).parameters
    for key in options:
        if key not in parameters:
            raise ConfigError(f".{key}: unknown option of {mapping['name']}{suggestion(key, parameters)}")
        is_number = isinstance(options[key], int | float) and not isinstance(options[key], bool)
        if not is_number and (options[key] is not None or parameters[key].default is not None):
            raise ConfigError(f".{key}: expected a number, got {options[key]!r:.60}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in options:
            raise ConfigError(f".{key}: expected a value, which {mapping['name']} requires, got nothing")
    try:
        return entry(**options)
    except ConfigError as error:
        raise ConfigError(*(f".{problem}" for problem in error.problems)) from error
