"""Stochastic depth: Huang, Sun, Liu, Sedra, Weinberger: "Deep Networks with Stochastic Depth", arXiv:1603.09382."""

from __future__ import annotations

import paddle
from paddle import nn

from ppzoo.errors import ConfigError


class DropPath(nn.Layer):
    """In training, set the output of a residual branch to zero for each image with probability `rate`.

    Its output for the other images is divided by 1 - rate.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        kept = (paddle.rand([x.shape[0]] + [1] * (x.ndim - 1)) >= self.rate).astype(x.dtype)
        return x * kept / (1 - self.rate)


def drop_path(rate: float) -> nn.Layer:
    """Return a `DropPath`, or the identity for rate 0.

    Raises:
        ConfigError: the rate is outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ConfigError(f"drop_path_rate: expected a rate of at least 0 and below 1, got {rate}; 0 disables it")
    return DropPath(rate) if rate else nn.Identity()
