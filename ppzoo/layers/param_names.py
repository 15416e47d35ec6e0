"""PaddleClas's parameter names and uniform initial weights: parameter attributes, batch norm and linear layers.

A block with a `name` derives its parameter names from it with fixed suffixes. Weight files of PaddleClas 1.x and
optimizer states are keyed by these parameter names, other weight files by structured names (attribute paths).
"""

from __future__ import annotations

import math

from paddle import ParamAttr, nn
from paddle.regularizer import L2Decay

from ppzoo.layers.native_layers import BatchNorm, Linear


def weight_attr(name: str | None, **options) -> ParamAttr:
    """Attribute of a convolution's or linear layer's weight: named `NAME_weights`, or a generated name for None."""
    return ParamAttr(name=name and f"{name}_weights", **options)


def bias_attr(name: str | None, **options) -> ParamAttr:
    """Attribute of a convolution's or linear layer's bias: named `NAME_offset`, or a generated name for None."""
    return ParamAttr(name=name and f"{name}_offset", **options)


def batch_norm(
    channels: int,
    name: str | None = None,
    *,
    layer: type[BatchNorm] = BatchNorm,
    decay: bool = True,
    lr_mult: float = 1.0,
    **options,
) -> BatchNorm:
    """Build a batch norm whose four tensors are named `NAME_scale`, `NAME_offset`, `NAME_mean`, `NAME_variance`.

    Args:
        channels: size of the channel axis.
        name: common prefix of the four names; by default they are generated (`batch_norm_0.w_0`, ...).
        layer: `BatchNorm`, or `BatchNorm2D` for its generated names.
        decay: whether scale and offset have the weight decay of the optimizer.
        lr_mult: factor of the learning rate of scale and offset.
        options: further arguments of `paddle.nn.BatchNorm` (momentum, epsilon, data_layout; without `name` also
            param_attr and bias_attr, which then replace `decay` and `lr_mult`).
    """
    if decay and lr_mult == 1.0:
        attributes = {}
    else:
        attributes = {"learning_rate": lr_mult, "regularizer": None if decay else L2Decay(0.0)}
    if name is None:
        if attributes:
            options = {"param_attr": ParamAttr(**attributes), "bias_attr": ParamAttr(**attributes), **options}
        return layer(channels, **options)
    return layer(
        channels,
        param_attr=ParamAttr(name=f"{name}_scale", **attributes),
        bias_attr=ParamAttr(name=f"{name}_offset", **attributes),
        moving_mean_name=f"{name}_mean",
        moving_variance_name=f"{name}_variance",
        **options,
    )


def linear(in_features: int, out_features: int, name: str | None = None) -> Linear:
    """Build a linear layer with parameters `NAME_weights` (in_features x out_features) and `NAME_offset`."""
    return Linear(in_features, out_features, weight_attr=weight_attr(name), bias_attr=bias_attr(name))


def fan_in_uniform(fan_in: int) -> nn.initializer.Uniform:
    """Initializer that is uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)
    return nn.initializer.Uniform(-bound, bound)


def uniform_linear(in_features: int, out_features: int, name: str | None = None) -> Linear:
    """Build a `linear` layer whose weight is initialized by `fan_in_uniform(in_features)` and whose bias is zero."""
    return Linear(
        in_features,
        out_features,
        weight_attr=weight_attr(name, initializer=fan_in_uniform(in_features)),
        bias_attr=bias_attr(name),
    )
