"""The native operators as functions of tensors N x C x H x W.

The memory of images is channels-last. `to_nhwc` copies a tensor that is contiguous as N x C x H x W, and returns a view
of any other tensor, such as a result of these functions: results are views with the logical layout N x C x H x W.
Callers check `ppzoo.native.supports` before.

All functions raise ValueError for shapes, types or geometries that do not match, as PaddlePaddle's functions do. The
functions have no second derivative: computing one raises NotImplementedError.

Within `autocast_bfloat16()`, the operators of `BFLOAT16_OPERATORS` except "linear" convert images to bfloat16 and
return bfloat16; "linear" accepts both types and returns float32. The output of a global average pooling is float32, and
a convolution or activation of it computes in float32. The other operators convert images to float32. Parameters and
statistics are always float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import paddle
from paddle import Tensor

from ppzoo.paddle_internals import NO_AMP as _NO_AMP
from ppzoo.paddle_internals import dygraph_tracer, in_dygraph_mode, in_sot, run_custom_op, transpose

# The values of `Activation` in src/kernels/activation.h.
ACTIVATION_CODES = {None: 0, "relu": 1, "relu6": 2, "hardswish": 3, "swish": 4}
# The values of `GateFunction` in src/kernels/squeeze_excite.h.
GATE_CODES = {"sigmoid": 0, "hardsigmoid": 1, "clip": 2}
# Activations whose derivative follows from their output, as the gradient of a norm with a residual requires.
INVERTIBLE_ACTIVATIONS = {None, "relu", "relu6"}
# Activations with a(t) = t a'(t), as the gradient of an affine block after a norm requires.
HOMOGENEOUS_ACTIVATIONS = {None, "relu"}
# The maximum number of elements of a window of `max_pool`: the index of the maximum is stored in one byte.
MAX_POOL_WINDOW = 256
# The minimum number of channels of a depthwise convolution in a fused operator: those of one vector with AVX-512.
MIN_DEPTHWISE_CHANNELS = 16
# Strides, paddings, dilations and groups of a 1x1 convolution of all pixels.
POINTWISE_GEOMETRY = [1, 1, 0, 0, 0, 0, 1, 1, 1]
_FLOAT32, _BFLOAT16 = paddle.float32, paddle.bfloat16

# The operators `ppzoo_NAME` that have a version for bfloat16 images, `ppzoo_bfloat16_NAME`. A network can be trained in
# bfloat16 if it consists of these and of REPLACED_IN_BFLOAT16 (ppzoo/layers/bfloat16.py).
BFLOAT16_OPERATORS = frozenset(
    {
        *("conv", "conv_norm", "conv_norm_add", "conv_norm_affine", "norm", "norm_add", "inverted_residuals"),
        *("max_pool", "average_pool", "linear", "channels_last", "squeeze_excite", "add_activate"),
        *("conv_bias", "activate", "add_scaled", "affine", "concat", "split_halves"),
    }
)
# Operators without a bfloat16 version that do not prevent training in bfloat16: within `autocast_bfloat16`, the layers
# call operators of BFLOAT16_OPERATORS instead.
REPLACED_IN_BFLOAT16 = frozenset({"repvgg", "conv_norm_sequence", "inverted_residual_se"})
_in_bfloat16 = False


@contextmanager
def autocast_bfloat16() -> Iterator[None]:
    """Compute forward passes in bfloat16 where an operator supports it. The processor must have AVX-512 BF16."""
    global _in_bfloat16
    before, _in_bfloat16 = _in_bfloat16, True
    try:
        yield
    finally:
        _in_bfloat16 = before


# The number of gradients computed so far. After a gradient was computed, `to_nhwc` does not return an earlier view: a
# backward pass discards the graph of the views that it goes through.
_gradient_count = ctypes.c_int()


def use_library(library: ctypes.CDLL) -> None:
    """Read the number of gradients from the library of the operators."""
    global _gradient_count
    _gradient_count = ctypes.c_int.in_dll(library, "ppzoo_gradient_count")


def is_supported(x: Tensor, ndim: int) -> bool:
    """Return whether the operators can compute on `x`: not empty, float32, on the CPU, in dygraph and without AMP.

    Within `autocast_bfloat16`, `x` can be bfloat16, too.
    """
    shape, dtype = x.shape, x.dtype
    return (
        len(shape) == ndim
        # Comparing PaddlePaddle's enumerations takes half a microsecond.
        and (dtype is _FLOAT32 or dtype == _FLOAT32 or (_in_bfloat16 and dtype == _BFLOAT16))
        and 0 not in shape
        and in_dygraph_mode()
        and not in_sot()
        and x.place.is_cpu_place()
        and dygraph_tracer()._amp_level.value == _NO_AMP
    )


def to_nhwc(x: Tensor) -> Tensor:
    """Return an N x C x H x W tensor as N x H x W x C in float32: a copy or a view (see the module's docstring).

    In PaddlePaddle 3, all operators with the input `x` get the same view of it. Their gradients are then added in
    channels-last memory, while PaddlePaddle would first copy each of them to a contiguous N x C x H x W.
    """
    if _in_bfloat16:
        x = to_float32(x)
    if x.is_contiguous():
        return run_custom_op("ppzoo_channels_last", x)[0]
    # PaddlePaddle does not discard a leaf in a backward pass, but it discards the graph of a shared view of the leaf.
    if x.stop_gradient or x.is_leaf:
        return transpose(x, [0, 2, 3, 1])
    state = x.inplace_version, _gradient_count.value
    known = getattr(x, "_ppzoo_view", None)
    if known is not None and known[0] == state:
        return known[1]
    view = transpose(x, [0, 2, 3, 1])
    if not view.stop_gradient:  # stop_gradient is True within no_grad
        try:  # noqa: SIM105  (suppress takes a microsecond)
            x._ppzoo_view = state, view
        except AttributeError:  # in PaddlePaddle 2.6 a tensor cannot have further attributes
            pass
    return view


def to_float32(x: Tensor) -> Tensor:
    """Return `x`, in float32 if an operator of `autocast_bfloat16` has returned it in bfloat16."""
    return x.astype(_FLOAT32) if _in_bfloat16 and x.dtype == _BFLOAT16 else x


def use_twice(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `x` twice. In bfloat16, a native operator adds the gradients of both, as PaddlePaddle's is slow."""
    if _in_bfloat16 and x.dtype == _BFLOAT16 and not x.stop_gradient:
        first, second = run_custom_op("ppzoo_bfloat16_use_twice", transpose(x, [0, 2, 3, 1]))
        return to_nchw(first), to_nchw(second)
    return x, x


def _in_precision(name: str) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Return the operator's name in the current precision, and the function that converts images to its layout."""
    return (f"ppzoo_bfloat16_{name}", _to_bfloat16_nhwc) if _in_bfloat16 else (f"ppzoo_{name}", to_nhwc)


def _in_precision_after_pooling(name: str, x: Tensor) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Return the same as `_in_precision`; for the output `x` of a global average pooling always that of float32."""
    is_pooled = _in_bfloat16 and x.dtype == _FLOAT32 and x.shape[2:] == [1, 1]
    return (f"ppzoo_{name}", to_nhwc) if is_pooled else _in_precision(name)


def _to_bfloat16_nhwc(x: Tensor) -> Tensor:
    """Return N x C x H x W, bfloat16 or float32, as N x H x W x C in bfloat16."""
    if x.dtype == _BFLOAT16:
        return transpose(x, [0, 2, 3, 1])
    return run_custom_op("ppzoo_bfloat16_channels_last", x)[0]


def to_nchw(x: Tensor) -> Tensor:
    """Return N x H x W x C as a view N x C x H x W."""
    return transpose(x, [0, 3, 1, 2])


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: list[int], activation: str | None = None
) -> Tensor:
    """Return activation(convolution(x)) of N x C x H x W.

    Args:
        weight: O x C/groups x KH x KW.
        bias: O, or None.
        geometry: strides, paddings (top, bottom, left, right), dilations, groups: nine numbers.
        activation: one of `INVERTIBLE_ACTIVATIONS`; None if `bias` is None.
    """
    need_dx = not x.stop_gradient
    if bias is None:
        operator, to_images = _in_precision_after_pooling("conv", x)
        return to_nchw(run_custom_op(operator, to_images(x), weight, geometry, need_dx)[0])
    operator, to_images = _in_precision_after_pooling("conv_bias", x)
    code = ACTIVATION_CODES[activation]
    return to_nchw(run_custom_op(operator, to_images(x), weight, bias, geometry, need_dx, code)[0])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x @ weight + bias (N x out) in float32, with x N x in, weight in x out and bias of size out."""
    operator = "ppzoo_bfloat16_linear" if _in_bfloat16 and x.dtype == _BFLOAT16 else "ppzoo_linear"
    return run_custom_op(operator, x, weight, bias, not x.stop_gradient)[0]


class ConvNormStage(NamedTuple):
    """A convolution without bias, batch norm in training and an activation.

    Attributes:
        weight: O x C/groups x KH x KW.
        norm: scale, offset, running mean and running variance; the last two are updated in place.
        geometry: strides, paddings (top, bottom, left, right), dilations, groups: nine numbers.
        activation: a key of `ACTIVATION_CODES`; with a residual, one of `INVERTIBLE_ACTIVATIONS`.
    """

    weight: Tensor
    norm: Sequence[Tensor]
    geometry: list[int]
    momentum: float
    epsilon: float
    activation: str | None


def conv_batch_norm(x: Tensor, stage: ConvNormStage, residual: Tensor | None = None) -> Tensor:
    """Return activation(batch_norm(convolution(x)) + residual) in training, computed by one operator."""
    weight, norm, geometry, momentum, epsilon, activation = stage
    need_dx, act = not x.stop_gradient, ACTIVATION_CODES[activation]
    if residual is None:
        operator, to_images = _in_precision("conv_norm")
        out = run_custom_op(operator, to_images(x), weight, *norm, geometry, need_dx, momentum, epsilon, act)
    else:
        operator, to_images = _in_precision("conv_norm_add")
        operands = to_images(x), weight, to_images(residual), *norm
        out = run_custom_op(operator, *operands, geometry, need_dx, momentum, epsilon, act)
    return to_nchw(out[0])


def is_conv_norm_affine(stage: ConvNormStage) -> bool:
    """Return whether `conv_batch_norm_affine` can compute this stage."""
    return stage.activation in HOMOGENEOUS_ACTIVATIONS


def conv_batch_norm_affine(x: Tensor, stage: ConvNormStage, multiplier: Tensor, addend: Tensor) -> Tensor:
    """Return multiplier * activation(batch_norm(convolution(x))) + addend in training, computed by one operator.

    Args:
        stage: `is_conv_norm_affine` is true for it.
        multiplier, addend: tensors of one number.
    """
    weight, norm, geometry, momentum, epsilon, activation = stage
    scale, offset, mean, variance = norm
    operator, to_images = _in_precision("conv_norm_affine")
    tensors = to_images(x), weight, scale, offset, multiplier, addend, mean, variance
    attributes = geometry, not x.stop_gradient, momentum, epsilon, ACTIVATION_CODES[activation]
    return to_nchw(run_custom_op(operator, *tensors, *attributes)[0])


def is_inverted_residual(stages: Sequence[ConvNormStage], shortcut: bool) -> bool:
    """Return whether `inverted_residuals` can compute a block with these three stages."""
    first, second, third = stages
    return (
        _is_pointwise(first) and _is_depthwise(second) and _is_pointwise(third) and not (shortcut and third.activation)
    )


def _is_pointwise(stage: ConvNormStage) -> bool:
    return stage.weight.shape[2:] == [1, 1] and stage.geometry == POINTWISE_GEOMETRY


def inverted_residuals(x: Tensor, blocks: Sequence[Sequence[ConvNormStage]], shortcuts: Sequence[bool]) -> Tensor:
    """Return the output of inverted residuals in sequence, computed by one operator.

    Args:
        blocks: the 1x1, depthwise and 1x1 convolution of each block; `is_inverted_residual` is true for them.
        shortcuts: whether the input of each block is added to its output.
    """
    weights, norms, _, momenta, epsilons, activations = zip(
        *(stage for block in blocks for stage in block), strict=True
    )
    tensors = [list(column) for column in zip(*norms, strict=True)]
    geometries = [number for block in blocks for number in block[1].geometry]
    codes = [ACTIVATION_CODES[name] for name in activations]
    attributes = geometries, codes, [int(shortcut) for shortcut in shortcuts], not x.stop_gradient
    operator, to_images = _in_precision("inverted_residuals")
    out = run_custom_op(operator, to_images(x), list(weights), *tensors, *attributes, list(momenta), list(epsilons))
    return to_nchw(out[0])


def is_inverted_residual_se(stages: Sequence[ConvNormStage], shortcut: bool) -> bool:
    """Return whether `inverted_residual_se` can compute a block with these three stages and squeeze-and-excitation."""
    return not _in_bfloat16 and is_inverted_residual(stages, shortcut)


def is_conv_norm_sequence(stages: Sequence[ConvNormStage]) -> bool:
    """Return whether `conv_batch_norm_sequence` can compute these stages."""
    return not _in_bfloat16 and all(_is_pointwise(stage) or _is_depthwise(stage) for stage in stages[1:])


def _is_depthwise(stage: ConvNormStage) -> bool:
    filters, inputs = stage.weight.shape[:2]
    return inputs == 1 and stage.geometry[-1] == filters >= MIN_DEPTHWISE_CHANNELS


def conv_batch_norm_sequence(x: Tensor, stages: Sequence[ConvNormStage]) -> Tensor:
    """Return the output of the last stage, computed by one operator; each stage gets the output of the one before.

    Args:
        stages: `is_conv_norm_sequence` is true for them.
    """
    weights, norms, geometries, momenta, epsilons, activations = zip(*stages, strict=True)
    tensors = [list(column) for column in zip(*norms, strict=True)]
    numbers = [number for geometry in geometries for number in geometry]
    codes = [ACTIVATION_CODES[name] for name in activations]
    attributes = numbers, codes, not x.stop_gradient, list(momenta), list(epsilons)
    return to_nchw(run_custom_op("ppzoo_conv_norm_sequence", to_nhwc(x), list(weights), *tensors, *attributes)[0])


class NormStage(NamedTuple):
    """Batch norm in training; `norm` as in `ConvNormStage`."""

    norm: Sequence[Tensor]
    momentum: float
    epsilon: float


def is_repvgg_block(dense: ConvNormStage, pointwise: ConvNormStage) -> bool:
    """Return whether `repvgg_block` can compute these branches."""
    strides = pointwise.geometry[:2]
    return (
        not _in_bfloat16
        and dense.activation is None
        and pointwise.activation is None
        and dense.geometry == [*strides, 1, 1, 1, 1, 1, 1, 1]
        and dense.weight.shape[2:] == [3, 3]
        and pointwise.geometry == [*strides, 0, 0, 0, 0, 1, 1, 1]
        and pointwise.weight.shape[2:] == [1, 1]
        and dense.weight.shape[:2] == pointwise.weight.shape[:2]
    )


def repvgg_block(x: Tensor, dense: ConvNormStage, pointwise: ConvNormStage, identity: NormStage | None) -> Tensor:
    """Return ReLU of the sum of two convolutions of x and x itself, each with batch norm, computed by one operator.

    Args:
        dense, pointwise: the convolutions; `is_repvgg_block` is true for them.
        identity: the norm of x; None if the sum has only the convolutions.
    """
    branches = [NormStage(stage.norm, stage.momentum, stage.epsilon) for stage in (dense, pointwise)]
    norms, momenta, epsilons = zip(*branches, *([] if identity is None else [identity]), strict=True)
    tensors = [list(column) for column in zip(*norms, strict=True)]
    attributes = dense.geometry, not x.stop_gradient, list(momenta), list(epsilons)
    return to_nchw(
        run_custom_op("ppzoo_repvgg", to_nhwc(x), [dense.weight, pointwise.weight], *tensors, *attributes)[0]
    )


def batch_norm(
    x: Tensor,
    norm: Sequence[Tensor],
    *,
    momentum: float,
    epsilon: float,
    activation: str | None,
    residual: Tensor | None = None,
) -> Tensor:
    """Return activation(batch_norm(x) + residual) in training; `norm` and `activation` as in `ConvNormStage`."""
    act = ACTIVATION_CODES[activation]
    if residual is None:
        operator, to_images = _in_precision("norm")
        return to_nchw(run_custom_op(operator, to_images(x), *norm, momentum, epsilon, act)[0])
    operator, to_images = _in_precision("norm_add")
    return to_nchw(run_custom_op(operator, to_images(x), to_images(residual), *norm, momentum, epsilon, act)[0])


def batch_norm_inference(
    x: Tensor, norm: Sequence[Tensor], *, epsilon: float, activation: str | None, residual: Tensor | None = None
) -> Tensor:
    """Return activation(batch_norm(x) + residual) with the running mean and variance. It has no gradient."""
    other = None if residual is None else to_nhwc(residual)
    return to_nchw(
        run_custom_op("ppzoo_norm_inference", to_nhwc(x), other, *norm, epsilon, ACTIVATION_CODES[activation])[0]
    )


def max_pool(x: Tensor, geometry: list[int]) -> Tensor:
    """Return the max pooling of N x C x H x W.

    Args:
        geometry: kernel, strides, paddings (top, bottom, left, right), ceil_mode: nine numbers; or, for adaptive
            pooling, the two sizes of the output. A window has at most `MAX_POOL_WINDOW` elements.
    """
    operator, to_images = _in_precision("max_pool")
    return to_nchw(run_custom_op(operator, to_images(x), geometry)[0])


def average_pool(x: Tensor, geometry: list[int], *, padded: bool = False) -> Tensor:
    """Return the average pooling of N x C x H x W.

    Args:
        geometry: as in `max_pool`.
        padded: whether the divisor counts paddings.
    """
    operator, to_images = _in_precision("average_pool")
    y = to_nchw(run_custom_op(operator, to_images(x), geometry, padded)[0])
    return to_float32(y) if y.shape[2:] == [1, 1] else y


def activate(x: Tensor, activation: str | None) -> Tensor:
    """Return activation(x)."""
    operator, to_images = _in_precision_after_pooling("activate", x)
    return to_nchw(run_custom_op(operator, to_images(x), ACTIVATION_CODES[activation])[0])


def add(x: Tensor, y: Tensor, activation: str | None = None) -> Tensor:
    """Return activation(x + y) of two tensors of the same shape."""
    operator, to_images = _in_precision("add_activate")
    return to_nchw(run_custom_op(operator, to_images(x), to_images(y), ACTIVATION_CODES[activation])[0])


def add_scaled(x: Tensor, y: Tensor, factors: Tensor) -> Tensor:
    """Return x + factors * y of two tensors of the same shape; `factors` has one number per image."""
    operator, to_images = _in_precision("add_scaled")
    return to_nchw(run_custom_op(operator, to_images(x), to_images(y), factors)[0])


def affine(x: Tensor, multiplier: Tensor, addend: Tensor) -> Tensor:
    """Return multiplier * x + addend; `multiplier` and `addend` have one number."""
    operator, to_images = _in_precision_after_pooling("affine", x)
    return to_nchw(run_custom_op(operator, to_images(x), multiplier, addend)[0])


def scale_channels(x: Tensor, gate: Tensor) -> Tensor:
    """Return x * gate, with `gate` N x C x 1 x 1."""
    return to_nchw(run_custom_op("ppzoo_scale_channels", to_nhwc(x), gate.reshape(gate.shape[:2]))[0])


class Gate(NamedTuple):
    """The function after the second layer of squeeze-and-excitation.

    Attributes:
        function: a key of `GATE_CODES`. "sigmoid" has no options. "hardsigmoid" and "clip" are slope * x + offset,
            limited to [0, 1]. Where this is exactly 0 or 1, the derivative is 0 for "hardsigmoid" and slope for "clip".
    """

    function: str
    slope: float = 1.0
    offset: float = 0.0


class SqueezeExcite(NamedTuple):
    """Two layers that compute gates from the means of the channels.

    Attributes:
        squeeze, excite: weight and bias of the first and of the second layer. Weights are those of linear layers
            (in x out) or of 1x1 convolutions (out x in x 1 x 1).
        activation: between the layers, a key of `ACTIVATION_CODES`.
        gate: the function after the second layer.
    """

    squeeze: Sequence[Tensor]
    excite: Sequence[Tensor]
    activation: str | None
    gate: Gate

    @property
    def attributes(self) -> tuple[int, int, float, float]:
        return ACTIVATION_CODES[self.activation], GATE_CODES[self.gate.function], self.gate.slope, self.gate.offset


def squeeze_excite(x: Tensor, block: SqueezeExcite) -> Tensor:
    """Return x times its gates, computed by one operator."""
    operator, to_images = _in_precision("squeeze_excite")
    tensors = to_images(x), *block.squeeze, *block.excite
    return to_nchw(run_custom_op(operator, *tensors, *block.attributes, not x.stop_gradient)[0])


def inverted_residual_se(x: Tensor, stages: Sequence[ConvNormStage], shortcut: bool, gates: SqueezeExcite) -> Tensor:
    """Return the output of an inverted residual with squeeze-and-excitation, computed by one operator.

    Args:
        stages: 1x1, depthwise and 1x1 convolution; `is_inverted_residual` is true for them. The gates multiply the
            input of the last convolution.
        shortcut: whether x is added to the output.
    """
    weights, norms, _, momenta, epsilons, activations = zip(*stages, strict=True)
    tensors = [list(column) for column in zip(*norms, strict=True)]
    codes = [ACTIVATION_CODES[name] for name in activations]
    attributes = stages[1].geometry, codes, shortcut, not x.stop_gradient, list(momenta), list(epsilons)
    operands = to_nhwc(x), list(weights), *tensors, *gates.squeeze, *gates.excite
    return to_nchw(run_custom_op("ppzoo_inverted_residual_se", *operands, *attributes, *gates.attributes)[0])


def concat(parts: Sequence[Tensor], *, shuffled: bool = False) -> Tensor:
    """Return the concatenation of `parts` along the channels; with `shuffled`, followed by a channel shuffle."""
    operator, to_images = _in_precision("concat")
    return to_nchw(run_custom_op(operator, [to_images(part) for part in parts], shuffled)[0])


def split_halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the second half of the channels."""
    operator, to_images = _in_precision("split_halves")
    first, second = run_custom_op(operator, to_images(x))
    return to_nchw(first), to_nchw(second)


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
    """Perform one step of Momentum with an L2 penalty in place, with one learning rate and decay per parameter.

    v = mu * v + (g + decay * w); w = w - rate * v, or w - rate * ((g + decay * w) + mu * v) with `nesterov`.

    Raises:
        ValueError: counts or shapes of the arguments differ, or a parameter or velocity is a strided view.
    """
    _require_contiguous([*parameters, *velocities])
    run_custom_op(
        "ppzoo_momentum", list(parameters), list(gradients), list(velocities), list(rates), list(decays), mu, nesterov
    )


def update_ema(averages: Sequence[Tensor], values: Sequence[Tensor], *, decay: float, weight: float) -> None:
    """Set average = decay * average + weight * value in place, for pairs of tensors that `are_contiguous_float32`.

    Raises:
        ValueError: counts or shapes of the arguments differ, or an average is a strided view.
    """
    _require_contiguous(averages)
    run_custom_op("ppzoo_update_ema", list(averages), list(values), decay, weight)


def all_finite(values: Sequence[Tensor]) -> bool:
    """Return whether tensors that `are_contiguous_float32` contain neither infinity nor NaN."""
    return bool(run_custom_op("ppzoo_all_finite", list(values))[0])


def _require_contiguous(tensors: Sequence[Tensor]) -> None:
    """Reject strided views: PaddlePaddle passes a copy of them to an operator, so that an update would be lost."""
    if not all(map(Tensor.is_contiguous, tensors)):  # called for all parameters in each step
        raise ValueError("expected contiguous tensors to update in place, got a strided view")


def are_contiguous_float32(tensors: Sequence[Tensor]) -> bool:
    """Return whether operators on lists of tensors support this list: at least one, all float32 and contiguous."""
    return bool(tensors) and all(tensor.dtype == _FLOAT32 and tensor.is_contiguous() for tensor in tensors)
