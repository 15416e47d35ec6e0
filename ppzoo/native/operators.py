"""The native operators as functions of tensors N x C x H x W.

Their memory is channels-last: `nhwc` makes a view of it, which costs nothing where the tensor came from one of these
functions and a copy where it did not, and the answer is a view back. Callers have asked `ppzoo.native.takes` before.

Every function raises ValueError for tensors whose shapes, types or options do not go together, as PaddlePaddle's do,
and has no second derivative: computing one raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle
from paddle import Tensor, _C_ops
from paddle.base import core, framework
from paddle.jit.sot.psdb import in_sot

# The numbers of `Activation` in src/kernels.h.
ACTIVATIONS = {None: 0, "relu": 1, "relu6": 2, "hardswish": 3, "swish": 4}
# Those that are found again from their result, as the gradient of a norm with a residual needs.
INVERTIBLE = {None, "relu", "relu6"}
# Places that a window of `max_pool` may have.
MOST_PLACES = 256
# Channels that a depthwise convolution of an inverted residual must have: a vector of the widest kind.
FEWEST_CHANNELS = 16
_NO_GEOMETRY = [1, 1, 0, 0, 0, 0, 1, 1, 1]

_run = core.eager._run_custom_op
_FLOAT32 = paddle.float32
_NO_AMP = core.AmpLevel.O0


def fits(x: Tensor, axes: int) -> bool:
    """Whether the operators can compute on `x`, which must hold elements, in dygraph and without mixed precision."""
    return (
        framework.in_dygraph_mode()
        and not in_sot()
        and x.ndim == axes
        and 0 not in x.shape
        and x.dtype == _FLOAT32
        and x.place.is_cpu_place()
        and framework._dygraph_tracer()._amp_level == _NO_AMP
    )


def nhwc(x: Tensor) -> Tensor:
    return _run("ppzoo_channels_last", x)[0] if x.is_contiguous() else _C_ops.transpose(x, [0, 2, 3, 1])


def nchw(x: Tensor) -> Tensor:
    return _C_ops.transpose(x, [0, 3, 1, 2])


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: list[int]) -> Tensor:
    """Convolution of N x C x H x W.

    Args:
        weight: O x C/groups x KH x KW.
        bias: O, or None.
        geometry: strides, paddings (top, bottom, left, right), dilations, groups: nine numbers.
    """
    need_dx = not x.stop_gradient
    if bias is None:
        return nchw(_run("ppzoo_conv", nhwc(x), weight, geometry, need_dx)[0])
    return nchw(_run("ppzoo_conv_bias", nhwc(x), weight, bias, geometry, need_dx)[0])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x weight + bias, of N x in, in x out and out."""
    return _run("ppzoo_linear", x, weight, bias, not x.stop_gradient)[0]


class Stage(NamedTuple):
    """A convolution without bias, batch norm in training and an activation.

    Attributes:
        weight: O x C/groups x KH x KW.
        norm: scale, offset, running mean and running variance; the last two move towards the batch's.
        geometry: strides, paddings (top, bottom, left, right), dilations, groups: nine numbers.
        activation: one of `ACTIVATIONS`; with a residual, one of `INVERTIBLE`.
    """

    weight: Tensor
    norm: Sequence[Tensor]
    geometry: list[int]
    momentum: float
    epsilon: float
    activation: str | None


def convolve_and_normalize(x: Tensor, stage: Stage, residual: Tensor | None = None) -> Tensor:
    """activation(batch_norm(convolution(x)) + residual) in training, one operator."""
    weight, norm, geometry, momentum, epsilon, activation = stage
    need_dx, act = not x.stop_gradient, ACTIVATIONS[activation]
    if residual is None:
        out = _run("ppzoo_conv_norm", nhwc(x), weight, *norm, geometry, need_dx, momentum, epsilon, act)
    else:
        operands = nhwc(x), weight, nhwc(residual), *norm
        out = _run("ppzoo_conv_norm_add", *operands, geometry, need_dx, momentum, epsilon, act)
    return nchw(out[0])


def is_inverted_residual(stages: Sequence[Stage], shortcut: bool) -> bool:
    """Whether `inverted_residual` can compute three stages."""
    first, second, third = stages
    return (
        _is_pointwise(first)
        and second.geometry[-1] == second.weight.shape[0] >= FEWEST_CHANNELS
        and _is_pointwise(third)
        and not (shortcut and third.activation)
    )


def _is_pointwise(stage: Stage) -> bool:
    return stage.weight.shape[2:] == [1, 1] and stage.geometry == _NO_GEOMETRY


def inverted_residual(x: Tensor, stages: Sequence[Stage], *, shortcut: bool) -> Tensor:
    """Three stages one after the other, to which `shortcut` adds x: 1x1, depthwise, 1x1; one operator."""
    weights, norms, geometries, momenta, epsilons, activations = zip(*stages, strict=True)
    attributes = geometries[1], [ACTIVATIONS[name] for name in activations], shortcut, not x.stop_gradient
    tensors = [list(column) for column in zip(*norms, strict=True)]
    out = _run("ppzoo_inverted_residual", nhwc(x), list(weights), *tensors, *attributes, list(momenta), list(epsilons))
    return nchw(out[0])


def normalize(
    x: Tensor,
    norm: Sequence[Tensor],
    *,
    momentum: float,
    epsilon: float,
    activation: str | None,
    residual: Tensor | None = None,
) -> Tensor:
    """activation(batch_norm(x) + residual) in training; `norm` and `activation` as in `Stage`."""
    act = ACTIVATIONS[activation]
    if residual is None:
        return nchw(_run("ppzoo_norm", nhwc(x), *norm, momentum, epsilon, act)[0])
    return nchw(_run("ppzoo_norm_add", nhwc(x), nhwc(residual), *norm, momentum, epsilon, act)[0])


def normalize_by_running(
    x: Tensor, norm: Sequence[Tensor], *, epsilon: float, activation: str | None, residual: Tensor | None = None
) -> Tensor:
    """activation(batch_norm(x) + residual) with the running mean and variance; it has no gradient."""
    other = None if residual is None else nhwc(residual)
    return nchw(_run("ppzoo_affine", nhwc(x), other, *norm, epsilon, ACTIVATIONS[activation])[0])


def max_pool(x: Tensor, geometry: list[int]) -> Tensor:
    """Maxima of N x C x H x W.

    Args:
        geometry: kernel, strides, paddings (top, bottom, left, right), ceil_mode: nine numbers; or, for adaptive
            pooling, the two sizes of the output. At most `MOST_PLACES` places in a window.
    """
    return nchw(_run("ppzoo_max_pool", nhwc(x), geometry)[0])


def average_pool(x: Tensor, geometry: list[int], *, padded: bool = False) -> Tensor:
    """Means of N x C x H x W; `geometry` as in `max_pool`, `padded`: whether paddings count as values."""
    return nchw(_run("ppzoo_average_pool", nhwc(x), geometry, padded)[0])


def activate(x: Tensor, activation: str | None) -> Tensor:
    return nchw(_run("ppzoo_activate", nhwc(x), ACTIVATIONS[activation])[0])


def add(x: Tensor, y: Tensor, activation: str | None = None) -> Tensor:
    """activation(x + y) of two tensors of the same shape."""
    return nchw(_run("ppzoo_add_activate", nhwc(x), nhwc(y), ACTIVATIONS[activation])[0])


def scale_channels(x: Tensor, gate: Tensor) -> Tensor:
    """x * gate, with `gate` N x C x 1 x 1."""
    return nchw(_run("ppzoo_scale_channels", nhwc(x), gate.reshape(gate.shape[:2]))[0])


def concat(parts: Sequence[Tensor], *, shuffled: bool = False) -> Tensor:
    """`parts` joined along the channels: one after the other, or dealt out in turn where `shuffled`."""
    return nchw(_run("ppzoo_join", [nhwc(part) for part in parts], shuffled)[0])


def halve(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second half of the channels."""
    first, second = _run("ppzoo_halve", nhwc(x))
    return nchw(first), nchw(second)


def momentum_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocities: Sequence[Tensor],
    rates: Sequence[float],
    decays: Sequence[float],
    *,
    mu: float,
    nesterov: bool,
) -> None:
    """One step of Momentum with an L2 penalty in place, all tensors contiguous; a rate and a decay for each parameter.

    v = mu v + (g + decay w); w = w - rate v, or w - rate ((g + decay w) + mu v) with `nesterov`.

    Raises:
        ValueError: tensors, rates or decays of different counts or shapes, or parameters or velocities that are views.
    """
    _require_contiguous([*parameters, *velocities])
    _run("ppzoo_momentum", list(parameters), list(gradients), list(velocities), list(rates), list(decays), mu, nesterov)


def blend(averages: Sequence[Tensor], values: Sequence[Tensor], *, keep: float, take: float) -> None:
    """average = keep average + take value in place, for pairs of tensors that `are_plain`.

    Raises:
        ValueError: another number or other shapes of values, or averages that are views.
    """
    _require_contiguous(averages)
    _run("ppzoo_blend", list(averages), list(values), keep, take)


def all_finite(values: Sequence[Tensor]) -> bool:
    """Whether tensors that `are_plain` hold neither infinity nor NaN."""
    return bool(_run("ppzoo_all_finite", list(values))[0])


def _require_contiguous(tensors: Sequence[Tensor]) -> None:
    """Refuse views to write to: PaddlePaddle hands an operator a copy of them."""
    if not all(tensor.is_contiguous() for tensor in tensors):
        raise ValueError("expected contiguous tensors to update in place, got a strided view")


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether all are what the operators on lists of tensors take, of which there must be some."""
    return bool(tensors) and all(tensor.dtype == _FLOAT32 and tensor.is_contiguous() for tensor in tensors)
