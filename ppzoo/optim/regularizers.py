"""Penalties on the weights, and limits on the gradients: what an optimizer's configuration names in a mapping."""

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
        require(coeff >= 0, "coeff of 0 or more", coeff)
        super().__init__(float(coeff))


@REGULARIZERS.register
class L2(paddle_regularizer.L2Decay):
    """Adds coeff * w to the gradient."""

    def __init__(self, *, coeff: float = 0.0) -> None:
        require(coeff >= 0, "coeff of 0 or more", coeff)
        super().__init__(float(coeff))


@CLIPS.register
class ClipGradByGlobalNorm(nn.ClipGradByGlobalNorm):
    """Scales all gradients together, so that the norm over all of them is at most `clip_norm`."""

    def __init__(self, *, clip_norm: float) -> None:
        require(clip_norm > 0, "clip_norm above 0", clip_norm)
        super().__init__(clip_norm)


@CLIPS.register
class ClipGradByNorm(nn.ClipGradByNorm):
    """Scales each gradient by itself, so that its norm is at most `clip_norm`."""

    def __init__(self, *, clip_norm: float) -> None:
        require(clip_norm > 0, "clip_norm above 0", clip_norm)
        super().__init__(clip_norm)


@CLIPS.register
class ClipGradByValue(nn.ClipGradByValue):
    """Cuts every element of the gradients to [min, max]; `min` is -max by default."""

    def __init__(self, *, max: float, min: float | None = None) -> None:
        require(max > 0, "max above 0", max)
        require(min is None or min < max, f"min below {max}", min)
        super().__init__(max, min)


def from_mapping(registry: Registry[type[T]], mapping: dict[str, Any]) -> T:
    """The object that {"name": NAME, **options} describes; all options are numbers, or null where that is the default.

    Raises:
        ConfigError: no name, an unknown name or option, an option missing, or one that is no number.
    """
    if "name" not in mapping:
        raise ConfigError(f"expected {registry.kind} with a name ({', '.join(registry)}), got {mapping!r}")
    options = {key: value for key, value in mapping.items() if key != "name"}
    entry = registry[mapping["name"]]
    parameters = inspect.signature(entry).parameters
    for key in options:
        if key not in parameters:
            raise ConfigError(f"{registry.kind} {mapping['name']} has no option {key!r}{suggestion(key, parameters)}")
        is_number = isinstance(options[key], int | float) and not isinstance(options[key], bool)
        if not is_number and (options[key] is not None or parameters[key].default is not None):
            raise ConfigError(f"{registry.kind} {mapping['name']}.{key}: expected a number, got {options[key]!r:.60}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in options:
            raise ConfigError(f"{registry.kind} {mapping['name']} lacks its option {key!r}")
    return entry(**options)
