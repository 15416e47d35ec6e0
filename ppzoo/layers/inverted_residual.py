"""The three convolutions of an inverted residual (Sandler et al., arXiv:1801.04381) as one native operator."""

from __future__ import annotations

from paddle import Tensor

from ppzoo import native
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import fusable, is_plain
from ppzoo.native import operators


def inverted_residual(
    expand: ConvBNLayer, depthwise: ConvBNLayer, project: ConvBNLayer, x: Tensor, *, shortcut: bool = False
) -> Tensor:
    """Return project(depthwise(expand(x))), plus x with `shortcut`.

    Args:
        expand: a 1x1 convolution.
        depthwise: a depthwise convolution.
        project: a 1x1 convolution; without an activation if there is a shortcut.
    """
    stages = _fusable_stages([expand, depthwise, project], x)
    if stages is not None and operators.is_inverted_residual(stages, shortcut):
        return operators.inverted_residual(x, stages, shortcut=shortcut)
    return project(depthwise(expand(x)), x if shortcut else None)


def _fusable_stages(blocks: list[ConvBNLayer], x: Tensor) -> list[operators.ConvNormStage] | None:
    if not native.supports(x):
        return None
    stages = []
    for block in blocks:
        stage = fusable(*block.parts, x) if is_plain(block, ConvBNLayer) else None
        if stage is None:
            return None
        stages.append(stage)
    return stages
