"""Learning-rate factors and exemptions from weight decay for parameters selected by name."""

from __future__ import annotations

import fnmatch
import re

import paddle
from paddle import nn

from ppzoo.errors import ConfigError, suggestion


def select_exempted(model: nn.Layer, parts: list[str], one_dim: bool) -> list[paddle.Tensor]:
    """Return the parameters whose structured name contains one of `parts`; with `one_dim` also all 1-D parameters."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if any(part in name for part in parts) or (one_dim and len(parameter.shape) == 1)
    ]


def set_learning_rate_factors(model: nn.Layer, factors: dict[str, float]) -> None:
    """Set the learning-rate factors of parameters by structured name."""
    for name, parameter in model.named_parameters():
        if name in factors:
            parameter.optimize_attr["learning_rate"] = float(factors[name])


def pattern_factors(model: nn.Layer, patterns: dict[str, float]) -> dict[str, float]:
    """Return structured name -> factor of the first shell pattern that matches it.

    Raises:
        ConfigError: a pattern that matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    factors: dict[str, float] = {}
    for pattern, factor in patterns.items():
        matched = fnmatch.filter(names, pattern)
        if not matched:
            fix = suggestion(pattern, names)
            raise ConfigError(f"Optimizer.learning_rate_factors: no parameter matches {pattern!r}{fix}")
        factors = {**dict.fromkeys(matched, factor), **factors}
    return factors


def layer_factors(model: nn.Layer, decay: float) -> dict[str, float]:
    """Return structured name -> decay ** (number of layers above the parameter's layer).

    The parameters of a layer have the same first part of the name ("conv1", "fc"), or the same first two parts if the
    second one is a number ("blocks.3").
    """
    names = [name for name, _ in model.named_parameters()]
    layers = list(dict.fromkeys(_layer(name) for name in names))
    return {name: decay ** (len(layers) - 1 - layers.index(_layer(name))) for name in names}


def _layer(name: str) -> str:
    match = re.match(r"[^.]+\.\d+(?=\.)", name)
    return match.group() if match else name.split(".")[0]
