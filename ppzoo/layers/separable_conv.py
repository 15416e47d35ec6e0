"""Convolutions with batch norm and activation in sequence, as one native operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paddle import Tensor, nn

from ppzoo import native
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import fusable, is_plain
from ppzoo.native import operators


def conv_sequence(layers: Sequence[nn.Layer], x: Tensor) -> Tensor:
    """Return the result of the layers in sequence, computed by one operator where that is possible."""
    y = _fused_sequence(layers, x)
    if y is not None:
        return y
    for layer in layers:
        x = layer(x)
    return x


def _fused_sequence(layers: Sequence[nn.Layer], x: Tensor) -> Tensor | None:
    """Return the result of the layers in sequence, computed by one operator; None if the operator cannot do that.

    It can train convolutions with batch norm, of which all but the first have to be 1x1 or depthwise.
    """
    stages = fusable_stages(layers, x) if layers and native.supports(x) else None
    if stages is None or not operators.is_conv_norm_sequence(stages):
        return None
    return operators.conv_batch_norm_sequence(x, stages)


class SeparableBlock(nn.Layer):
    """Base class of depthwise separable convolutions: calls its `layers` in sequence."""

    @property
    def layers(self) -> Sequence[nn.Layer]:
        raise NotImplementedError(f"{type(self).__name__} must define layers")

    def forward(self, x: Tensor) -> Tensor:
        return conv_sequence(self.layers, x)


class SeparableBlocks(nn.Sequential):
    """Depthwise separable convolutions in sequence, computed by one operator or, if it cannot do that, one by one."""

    def forward(self, x: Tensor) -> Tensor:
        blocks = list(self._sub_layers.values())
        if all(is_plain(block, SeparableBlock) for block in blocks):
            y = _fused_sequence([layer for block in blocks for layer in block.layers], x)
            if y is not None:
                return y
        return super().forward(x)


class _Image(NamedTuple):
    """Stands for the output of a convolution that has not been computed: only its shape is known."""

    shape: list[int]


def fusable_stages(layers: Sequence[nn.Layer], x: Tensor) -> list[operators.ConvNormStage] | None:
    """Return the arguments of operators that train the layers in sequence; None if one of them is not supported.

    The caller has checked `ppzoo.native.supports(x)`.
    """
    stages = []
    image = x
    for layer in layers:
        if not isinstance(layer, ConvBNLayer) or not is_plain(layer, ConvBNLayer):
            return None
        stage = fusable(*layer.parts, image)
        if stage is None:
            return None
        image = _Image(layer.parts[0].output_shape(image, stage.geometry))
        stages.append(stage)
    return stages
