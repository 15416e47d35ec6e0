"""Which parameters of a model are treated apart: learning-rate factors and exemptions from decay, by name."""

from __future__ import annotations

import fnmatch
import re

import paddle
from paddle import nn

from ppzoo.errors import ConfigError, suggestion


def exempt(model: nn.Layer, parts: list[str], one_dim: bool) -> list[paddle.Tensor]:
    """The parameters with one of `parts` in their structured name; with `one_dim` also all biases and norms."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if any(part in name for part in parts) or (one_dim and len(parameter.shape) == 1)
    ]


def set_learning_rate_factors(model: nn.Layer, factors: dict[str, float]) -> None:
    """Give the parameters of these structured names their factors on the learning rate."""
    for name, parameter in model.named_parameters():
        if name in factors:
            parameter.optimize_attr["learning_rate"] = float(factors[name])


def pattern_factors(model: nn.Layer, patterns: dict[str, float]) -> dict[str, float]:
    """Structured name -> factor of the first of the shell patterns that matches it.

    Raises:
        ConfigError: a pattern that matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    factors: dict[str, float] = {}
    for pattern, factor in patterns.items():
        matched = fnmatch.filter(names, pattern)
        if not matched:
            raise ConfigError(f"learning_rate_factors: no parameter matches {pattern!r}{suggestion(pattern, names)}")
        factors = {**dict.fromkeys(matched, factor), **factors}
    return factors


def layer_factors(model: nn.Layer, decay: float) -> dict[str, float]:
    """Structured name -> decay ** (number of layers above its own).

    A layer is what shares the first part of the name ("conv1", "fc"), or the parts up to the first number where
    that comes second ("blocks.3").
    """
    names = [name for name, _ in model.named_parameters()]
    layers = list(dict.fromkeys(_layer(name) for name in names))
    return {name: decay ** (len(layers) - 1 - layers.index(_layer(name))) for name in names}


def _layer(name: str) -> str:
    match = re.match(r"[^.]+\.\d+(?=\.)", name)
    return match.group() if match else name.split(".")[0]
