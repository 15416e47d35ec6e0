"""Inverted residuals (Sandler et al., arXiv:1801.04381), with or without squeeze-and-excitation.

One native operator trains such a block, or several blocks in sequence, where that is possible.
"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import Tensor, nn

from ppzoo import native
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import is_plain, use_twice
from ppzoo.layers.separable_conv import fusable_stages
from ppzoo.layers.squeeze_excite import ConvSqueezeExcite
from ppzoo.native import operators


class InvertedResidual(nn.Layer):
    """Base class of inverted residuals: computes `inverted_residual` with its `convolutions` and `shortcut`."""

    shortcut: bool

    @property
    def convolutions(self) -> tuple[ConvBNLayer, ConvBNLayer, ConvBNLayer]:
        raise NotImplementedError(f"{type(self).__name__} must define convolutions")

    def forward(self, x: Tensor) -> Tensor:
        return inverted_residual(*self.convolutions, x, shortcut=self.shortcut)


def inverted_residual(
    expand: ConvBNLayer,
    depthwise: ConvBNLayer,
    project: ConvBNLayer,
    x: Tensor,
    *,
    shortcut: bool = False,
    squeeze_excite: ConvSqueezeExcite | None = None,
) -> Tensor:
    """Return project(squeeze_excite(depthwise(expand(x)))), plus x with `shortcut`.

    Args:
        expand: a 1x1 convolution.
        depthwise: a depthwise convolution.
        project: a 1x1 convolution; without an activation if there is a shortcut.
        squeeze_excite: the layer before `project`, if there is one.
    """
    stages = _fusable_stages([expand, depthwise, project], x, shortcut=shortcut) if native.supports(x) else None
    if squeeze_excite is None:
        if stages is not None:
            return operators.inverted_residuals(x, [stages], [shortcut])
        return project(depthwise(expand(x)), x if shortcut else None)
    if (
        stages is not None
        and is_plain(squeeze_excite, ConvSqueezeExcite)
        and operators.is_inverted_residual_se(stages, shortcut)
    ):
        gates = squeeze_excite.native_arguments(x)
        if gates is not None:
            return operators.inverted_residual_se(x, stages, shortcut, gates)
    if not shortcut:
        return project(squeeze_excite(depthwise(expand(x))))
    x, residual = use_twice(x)
    return project(squeeze_excite(depthwise(expand(x))), residual)


def inverted_residuals(units: Sequence[nn.Layer], x: Tensor) -> Tensor:
    """Return the output of the units in sequence, computed by one operator where that is possible.

    Args:
        units: inverted residuals; all but the first have a shortcut, and therefore keep the shape.
    """
    blocks = _fusable_units(units, x) if native.supports(x) else None
    if blocks is not None:
        return operators.inverted_residuals(x, blocks, [unit.shortcut for unit in units])
    for unit in units:
        x = unit(x)
    return x


def _fusable_units(units: Sequence[nn.Layer], x: Tensor) -> list[list[operators.ConvNormStage]] | None:
    """Return the arguments of the operator for all units; None if the operator does not support one of the units.

    `x`, the input of the first unit, is used for the other units, too: the operator checks the sizes of their inputs.
    """
    blocks = []
    for number, unit in enumerate(units):
        can_follow = is_plain(unit, InvertedResidual) and (unit.shortcut or number == 0)
        stages = _fusable_stages(unit.convolutions, x, shortcut=unit.shortcut) if can_follow else None
        if stages is None:
            return None
        blocks.append(stages)
    return blocks


def _fusable_stages(
    convolutions: Sequence[ConvBNLayer], x: Tensor, *, shortcut: bool
) -> list[operators.ConvNormStage] | None:
    stages = fusable_stages(convolutions, x)
    return stages if stages is not None and operators.is_inverted_residual(stages, shortcut) else None
