"""PaddlePaddle's layers, computed by `ppzoo.native` where that is in use.

Each bears the name of the layer that it stands for, has its parameters, and gives them the same generated names (which
PaddlePaddle makes from the class's name), so that checkpoints and exports cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppzoo import native


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(number) for number in value]


def _paddings(padding: object) -> list[int] | None:
    """Top, bottom, left, right of a padding as PaddlePaddle takes it; None for one spelt otherwise ("SAME")."""
    if isinstance(padding, int):
        return [padding] * 4
    if not isinstance(padding, (list, tuple)) or not all(isinstance(number, int) for number in padding):
        return None
    if len(padding) == 2:
        return [padding[0], padding[0], padding[1], padding[1]]
    return list(padding) if len(padding) == 4 else None


def _same(size: int, kernel: int, stride: int) -> list[int]:
    """Paddings before and after `size` values, for which "SAME" gives ceil(size / stride) results."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2, total - total // 2]


class Conv2D(nn.Conv2D):
    """`paddle.nn.Conv2D`."""

    def forward(self, x: Tensor) -> Tensor:
        if native.takes(x) and (geometry := self.geometry(x)) is not None:
            from ppzoo.native import operators

            return operators.convolve(x, self.weight, self.bias, geometry)
        return super().forward(x)

    def geometry(self, x: Tensor) -> list[int] | None:
        """Strides, paddings, dilations and groups for `x` as the native operators take them, None if they cannot."""
        if self._padding_mode != "zeros" or self._data_format != "NCHW":
            return None
        strides, dilations = _pair(self._stride), _pair(self._dilation)
        paddings = _paddings(self._padding)
        if paddings is None and isinstance(self._padding, str):
            if self._padding.upper() == "VALID":
                paddings = [0] * 4
            elif self._padding.upper() == "SAME" and dilations == [1, 1]:
                (height, width), (kernel_h, kernel_w) = x.shape[2:], self.weight.shape[2:]
                paddings = _same(height, kernel_h, strides[0]) + _same(width, kernel_w, strides[1])
        return None if paddings is None else [*strides, *paddings, *dilations, self._groups]


class BatchNorm(nn.BatchNorm):
    """`paddle.nn.BatchNorm`."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fused(x, self._act) if self.fits(x, self._act, None) else super().forward(x)

    def fits(self, x: Tensor, activation: str | None, residual: Tensor | None) -> bool:
        """Whether the native operators can compute activation(norm(x) + residual)."""
        from ppzoo.native import operators

        if not native.takes(x) or self._data_layout != "NCHW" or self._trainable_statistics:
            return False
        known = operators.ACTIVATIONS if residual is None else operators.INVERTIBLE
        if activation not in known:
            return False
        if self.training and not self._use_global_stats:
            batch, _, height, width = x.shape
            return batch * height * width > 1
        return not paddle.is_grad_enabled()

    def fused(self, x: Tensor, activation: str | None, residual: Tensor | None = None) -> Tensor:
        """activation(norm(x) + residual); `fits` has been asked."""
        from ppzoo.native import operators

        tensors = self.weight, self.bias, self._mean, self._variance
        options = {"epsilon": self._epsilon, "activation": activation, "residual": residual}
        if self.training and not self._use_global_stats:
            return operators.normalise(x, tensors, momentum=self._momentum, **options)
        return operators.normalise_by_running(x, tensors, **options)
