"""Convolutions with batch norm and activation in sequence, as one native operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paddle import Tensor, nn

from ppzoo import native
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import fusable, is_plain
from ppzoo.native import operators


def conv_sequence(convolutions: Sequence[ConvBNLayer], x: Tensor, *, shortcut: bool = False) -> Tensor:
    """Return the convolutions in sequence, plus x with `shortcut`, computed by one operator where that is possible.

    Args:
        convolutions: at least one. One operator computes them if those after the first are 1x1 or depthwise, and, with
            a shortcut, if the last one has no activation.
    """
    stages = fusable_stages(convolutions, x) if native.supports(x) else None
    if stages is not None and operators.is_conv_norm_sequence(stages, shortcut):
        return operators.conv_batch_norm_sequence(x, stages, shortcut)
    *first, last = convolutions
    y = x
    for convolution in first:
        y = convolution(y)
    return last(y, x if shortcut else None)


class SeparableBlocks(nn.Sequential):
    """Depthwise separable convolutions in sequence, computed by one operator where that is possible.

    Its layers compute `conv_sequence(self.convolutions, x)`.
    """

    def forward(self, x: Tensor) -> Tensor:
        blocks = list(self._sub_layers.values())
        if all(is_plain(block, type(block)) for block in blocks):
            return conv_sequence([convolution for block in blocks for convolution in block.convolutions], x)
        return super().forward(x)


class _Image(NamedTuple):
    """The shape of a convolution's output that has not been computed."""

    shape: list[int]


def fusable_stages(convolutions: Sequence[ConvBNLayer], x: Tensor) -> list[operators.ConvNormStage] | None:
    """Return the arguments of operators that train the convolutions in sequence; None if one is not supported.

    The caller has checked `ppzoo.native.supports(x)`.
    """
    stages = []
    image = x
    for convolution in convolutions:
        stage = fusable(*convolution.parts, image) if is_plain(convolution, ConvBNLayer) else None
        if stage is None:
            return None
        image = _Image(convolution.parts[0].output_shape(image, stage.geometry))
        stages.append(stage)
    return stages
