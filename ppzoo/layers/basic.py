"""Activations by name, PaddleClas's dropout, and the rounding of scaled channel counts."""

from __future__ import annotations

from paddle import nn

from ppzoo.errors import ConfigError
from ppzoo.registry import Registry

ACTIVATIONS: Registry[type[nn.Layer]] = Registry("activation")
for _name, _layer in {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "swish": nn.Swish,
    "gelu": nn.GELU,
}.items():
    ACTIVATIONS.add(_name, _layer)


def activation(name: str | None) -> nn.Layer:
    """Return the activation layer registered as `name`; the identity for None."""
    return nn.Identity() if name is None else ACTIVATIONS[name]()


def dropout(rate: float) -> nn.Layer:
    """Build a dropout layer: in training it zeroes values with probability `rate` and divides the others by 1 - rate.

    Raises:
        ConfigError: the rate is outside [0, 1).
    """
    return nn.Dropout(_check_rate(rate))


def downscaled_dropout(rate: float) -> nn.Layer:
    """Build a dropout layer: in training it zeroes values with probability `rate`, in evaluation it scales by 1 - rate.

    PaddleClas trained its official weights with this mode (`downscale_in_infer`). With `upscale_in_train`, the default
    of PaddlePaddle and PyTorch, the following layer would receive values 1 / (1 - rate) times as large.

    Raises:
        ConfigError: the rate is outside [0, 1).
    """
    return nn.Dropout(rate, mode="downscale_in_infer") if _check_rate(rate) else nn.Identity()


def _check_rate(rate: float) -> float:
    if not 0 <= rate < 1:
        raise ConfigError(f"expected a dropout rate of at least 0 and below 1, got {rate}; 0 disables dropout")
    return rate


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Return the multiple of `divisor` nearest to `channels`: at least `divisor` and at least 0.9 `channels`."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor
