"""The convolutions of an inverted residual (Sandler et al., arXiv:1801.04381), which one native operator computes."""

from __future__ import annotations

from paddle import Tensor

from ppzoo import native
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import fusable, is_plain
from ppzoo.native import operators


def inverted_residual(
    expand: ConvBNLayer, depthwise: ConvBNLayer, project: ConvBNLayer, x: Tensor, *, shortcut: bool = False
) -> Tensor:
    """project(depthwise(expand(x))), to which `shortcut` adds x.

    Args:
        expand: a convolution of 1x1 pixel.
        depthwise: one of each channel by itself.
        project: a convolution of 1x1 pixel; without an activation where there is a shortcut.
    """
    stages = _fused([expand, depthwise, project], x)
    if stages is not None and operators.is_inverted_residual(stages, shortcut):
        return operators.inverted_residual(x, stages, shortcut=shortcut)
    return project(depthwise(expand(x)), x if shortcut else None)


def _fused(blocks: list[ConvBNLayer], x: Tensor) -> list[operators.ConvNormStage] | None:
    if not native.supports(x):
        return None
    stages = []
    for block in blocks:
        stage = fusable(*block.parts, x) if is_plain(block, ConvBNLayer) else None
        if stage is None:
            return None
        stages.append(stage)
    return stages
