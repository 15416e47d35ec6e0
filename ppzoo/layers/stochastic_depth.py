"""Stochastic depth: Huang, Sun, Liu, Sedra, Weinberger: "Deep Networks with Stochastic Depth", arXiv:1603.09382."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppzoo.errors import ConfigError
from ppzoo.layers.native_layers import add, add_scaled


class StochasticDepth(nn.Layer):
    """Add a residual branch to its shortcut. In training, each image skips the branch with probability `rate`.

    In training, the branch of the other images is divided by 1 - rate.

    Shape: two tensors N x C x H x W to the same.

    Raises:
        ConfigError: the rate is outside [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ConfigError(f"drop_path_rate: expected a rate of at least 0 and below 1, got {rate}; 0 disables it")
        self.rate = rate

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return add(shortcut, branch)
        kept = (paddle.rand([branch.shape[0]]) >= self.rate).astype("float32")
        return add_scaled(shortcut, branch, kept / (1 - self.rate))
