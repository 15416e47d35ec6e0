"""The learnable affine block of PP-HGNetV2: one scale and one bias for all values of a tensor."""

from __future__ import annotations

import paddle
from paddle import ParamAttr, Tensor, nn

from ppzoo import native
from ppzoo.layers.native_layers import conv_norm_act, fusable, is_plain
from ppzoo.native import operators


class LearnableAffineBlock(nn.Layer):
    """Compute scale * x + bias with two learned numbers: `scale` (initially 1) and `bias` (initially 0).

    Args:
        lr_mult: factor of the learning rate of `scale` and `bias`.
    """

    def __init__(self, *, lr_mult: float = 1.0) -> None:
        super().__init__()
        for name, start in (("scale", 1.0), ("bias", 0.0)):
            attribute = ParamAttr(initializer=nn.initializer.Constant(start), learning_rate=lr_mult)
            setattr(self, name, self.create_parameter([1], attr=attribute))

    def forward(self, x: Tensor) -> Tensor:
        if native.supports(x) and self.has_single_numbers:
            return operators.affine(x, self.scale, self.bias)
        return self.scale * x + self.bias

    @property
    def has_single_numbers(self) -> bool:
        """Whether `scale` and `bias` each contain one float32 number, as the native operators require."""
        parameters = self._parameters["scale"], self._parameters["bias"]  # attribute lookup on a Layer is slow
        return all(value.shape == [1] and value.dtype == paddle.float32 for value in parameters)


def conv_norm_act_affine(
    conv: nn.Layer, norm: nn.Layer, act: nn.Layer, lab: nn.Layer, x: Tensor, residual: Tensor | None = None
) -> Tensor:
    """Return lab(act(norm(conv(x)) + residual)); without a residual, one native operator trains it where possible."""
    is_fused = residual is None and native.supports(x) and is_plain(lab, LearnableAffineBlock)
    if is_fused and lab.has_single_numbers:
        stage = fusable(conv, norm, act, x)
        if stage is not None and operators.is_conv_norm_affine(stage):
            return operators.conv_batch_norm_affine(x, stage, lab.scale, lab.bias)
    return lab(conv_norm_act(conv, norm, act, x, residual))
