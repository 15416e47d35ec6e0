"""Initial weights that PaddleClas spreads evenly by the number of inputs, and the linear layer that has them."""

from __future__ import annotations

import math

from paddle import nn

from ppzoo.layers.native_layers import Linear
from ppzoo.layers.param_names import bias_attr, weight_attr


def fan_in_uniform(fan_in: int) -> nn.initializer.Uniform:
    """Uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)
    return nn.initializer.Uniform(-bound, bound)


def uniform_linear(in_features: int, out_features: int, name: str | None = None) -> Linear:
    """A linear layer that starts from `fan_in_uniform(in_features)`, its bias from zero.

    Its parameters are `NAME_weights` (in_features x out_features) and `NAME_offset`, or have generated names.
    """
    return Linear(
        in_features,
        out_features,
        weight_attr=weight_attr(name, initializer=fan_in_uniform(in_features)),
        bias_attr=bias_attr(name),
    )
