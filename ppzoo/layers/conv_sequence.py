"""Convolutions with batch norm and activation in sequence, as one native operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from paddle import Tensor, nn

from ppzoo import native
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import fusable, is_plain
from ppzoo.native import operators


def conv_sequence(layers: Sequence[nn.Layer], x: Tensor, *, shortcut: bool = False) -> Tensor:
    """Return the result of the layers in sequence, plus x with `shortcut`.

    One operator computes it if the layers are `ConvBNLayer`s, 1x1 or depthwise after the first, and if the last one has
    no activation in case of a shortcut.

    Args:
        layers: at least one; with a shortcut, the last one is a `ConvBNLayer`.
    """
    stages = fusable_stages(layers, x) if native.supports(x) else None
    if stages is not None and operators.is_conv_norm_sequence(stages, shortcut):
        return operators.conv_batch_norm_sequence(x, stages, shortcut)
    *first, last = layers
    y = x
    for layer in first:
        y = layer(y)
    return last(y, x) if shortcut else last(y)


class SeparableBlock(nn.Layer):
    """Base class of depthwise separable convolutions: calls its `layers` in sequence."""

    @property
    def layers(self) -> Sequence[nn.Layer]:
        raise NotImplementedError(f"{type(self).__name__} must define layers")

    def forward(self, x: Tensor) -> Tensor:
        return conv_sequence(self.layers, x)


class SeparableBlocks(nn.Sequential):
    """Depthwise separable convolutions in sequence, computed by one operator where that is possible."""

    def forward(self, x: Tensor) -> Tensor:
        blocks = list(self._sub_layers.values())
        if all(is_plain(block, SeparableBlock) for block in blocks):
            return conv_sequence([layer for block in blocks for layer in block.layers], x)
        return super().forward(x)


class _Image(NamedTuple):
    """The shape of a convolution's output that has not been computed."""

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
