"""The names of PaddleClas's parameters, in one place.

A block that carries a `name` gives its parameters that name and a suffix. These are the second set of names beside
the attribute paths: weight files of PaddleClas 1.x and optimizer states are keyed by them.
"""

from __future__ import annotations

from paddle import ParamAttr

from ppzoo.layers.native_layers import BatchNorm, Linear


def weight_attr(name: str | None, **options) -> ParamAttr:
    """The attribute of a convolution's or linear layer's weight: `NAME_weights`, or a generated name without `name`."""
    return ParamAttr(name=name and f"{name}_weights", **options)


def bias_attr(name: str | None, **options) -> ParamAttr:
    """The attribute of a convolution's or linear layer's bias: `NAME_offset`, or a generated name without `name`."""
    return ParamAttr(name=name and f"{name}_offset", **options)


def batch_norm(channels: int, name: str | None = None, **options) -> BatchNorm:
    """Batch norm over `channels`, its four tensors named `NAME_scale`, `_offset`, `_mean`, `_variance`.

    Args:
        channels: size of the channel axis.
        name: common part of the four names; generated names (`batch_norm_0.w_0`, ...) without it.
        options: passed on to `paddle.nn.BatchNorm` (momentum, epsilon, data_layout, param_attr, bias_attr).
    """
    if name is None:
        return BatchNorm(channels, **options)
    return BatchNorm(
        channels,
        param_attr=ParamAttr(name=f"{name}_scale"),
        bias_attr=ParamAttr(name=f"{name}_offset"),
        moving_mean_name=f"{name}_mean",
        moving_variance_name=f"{name}_variance",
        **options,
    )


def linear(in_features: int, out_features: int, name: str | None = None) -> Linear:
    """A linear layer whose parameters are `NAME_weights` (in_features x out_features) and `NAME_offset`."""
    return Linear(in_features, out_features, weight_attr=weight_attr(name), bias_attr=bias_attr(name))
