"""Subclasses of PaddlePaddle's layers that run on the operators of `ppzoo.native` where these are available.

Each class has the name and the parameters of the layer that it replaces. Generated parameter names are the same, too,
because PaddlePaddle derives them from the class name. Checkpoints and exports are therefore identical.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppzoo import native
from ppzoo.installation import release_of
from ppzoo.layers.sync_norm import synchronized_norm
from ppzoo.native import operators

_RELEASE = release_of(paddle.__version__)
_SUPPORTS_EMPTY_BATCHES = _RELEASE is None or _RELEASE.empty_batches  # None: a release that ppzoo does not know


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(number) for number in value]


def _paddings(padding: object) -> list[int] | None:
    """Convert a `padding` argument to [top, bottom, left, right]; None if it is given in another form ("SAME")."""
    if isinstance(padding, int):
        return [padding] * 4
    if not isinstance(padding, (list, tuple)) or not all(isinstance(number, int) for number in padding):
        return None
    if len(padding) == 2:
        return [padding[0], padding[0], padding[1], padding[1]]
    return list(padding) if len(padding) == 4 else None


def _check_output_not_empty(x: Tensor, margins: Sequence[int], strides: Sequence[int], what: str) -> None:
    """Raise an error if a kernel or window is so much larger than the map that the output has no pixels.

    Without this check, PaddlePaddle continues with empty maps or crashes with a signal.

    Args:
        margins: padded height and width minus those of the kernel; in ceil mode, plus stride - 1.

    Raises:
        ValueError: the output is empty.
    """
    for size, margin, stride in zip(x.shape[2:], margins, strides, strict=True):
        if size > 0 and margin <= -stride:  # in a static program a size can be -1
            raise ValueError(f"{what}: expected an input at least as large, got one of shape {list(x.shape)}")


def _pool_geometry(pool: nn.Layer, x: Tensor) -> list[int] | None:
    """Return kernel, strides, paddings and ceil mode for the native operators; None if these do not support the call.

    Unlike PaddlePaddle's, they require that every window contains values of `x`.

    Raises:
        ValueError: the window is so much larger than `x` that the output is empty.
    """
    if len(x.shape) != 4:  # PaddlePaddle's operators raise an error
        return None
    paddings, kernel = _paddings(pool.padding), _pair(pool.ksize)
    stride = _pair(pool.ksize if pool.stride is None else pool.stride)
    if pool.padding == "SAME":
        paddings = [size for axis in (0, 1) for size in _same_paddings(x.shape[2 + axis], kernel[axis], stride[axis])]
    if paddings is None or pool.data_format != "NCHW":
        return None
    margins = [size + sum(paddings[2 * axis : 2 * axis + 2]) - kernel[axis] for axis, size in enumerate(x.shape[2:])]
    rounded = [margin + (step - 1 if pool.ceil_mode else 0) for margin, step in zip(margins, stride, strict=True)]
    if min(rounded) < 0:
        _check_output_not_empty(x, rounded, stride, f"pooling with a window of {kernel[0]} x {kernel[1]}")
    is_supported = native.supports(x) and min(margins) >= 0 and min(paddings) >= 0
    for axis, size in enumerate(x.shape[2:]):
        before, last = paddings[2 * axis], rounded[axis] // stride[axis] * stride[axis]
        is_supported = is_supported and before < kernel[axis] and last - before < size
    return [*kernel, *stride, *paddings, int(pool.ceil_mode)] if is_supported else None


def _same_paddings(size: int, kernel: int, stride: int) -> list[int]:
    """Return the paddings before and after `size` values with which "SAME" has ceil(size / stride) outputs."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2, total - total // 2]


ACTIVATION_NAMES: dict[type[nn.Layer], str | None] = {
    nn.Identity: None,
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hardswish",
    nn.Swish: "swish",
    nn.Silu: "swish",
}


class Conv2D(nn.Conv2D):
    """`paddle.nn.Conv2D` on native operators."""

    def forward(self, x: Tensor) -> Tensor:
        geometry = self.geometry(x)
        if geometry is not None and native.supports(x):
            return operators.convolve(x, self.weight, self.bias, geometry)
        return super().forward(operators.to_float32(x))

    def geometry(self, x: Tensor) -> list[int] | None:
        """Return strides, paddings, dilations and groups for the native operators; None if they do not support them.

        Raises:
            ValueError: the kernel is so much larger than `x` that the output is empty.
        """
        if self._padding_mode != "zeros" or self._data_format != "NCHW" or len(x.shape) != 4:
            return None
        strides, dilations, paddings = self._stride, self._dilation, _paddings(self._padding)
        _, _, height, width = x.shape
        # Not `self.weight`: attribute lookup on a Layer is slow. It is only needed after `paddle.nn.utils.weight_norm`,
        # which replaces the parameter `weight` by a plain attribute.
        weight = self._parameters.get("weight")
        _, _, kernel_h, kernel_w = (self.weight if weight is None else weight).shape
        if self._padding == "VALID":
            paddings = [0] * 4
        elif self._padding == "SAME" and dilations == [1, 1]:
            paddings = _same_paddings(height, kernel_h, strides[0]) + _same_paddings(width, kernel_w, strides[1])
        if paddings is None or min(paddings) < 0:
            return None
        top, bottom, left, right = paddings
        rows = height + top + bottom - dilations[0] * (kernel_h - 1) - 1
        columns = width + left + right - dilations[1] * (kernel_w - 1) - 1
        if rows < 0 or columns < 0:
            what = f"convolution with a kernel of {kernel_h} x {kernel_w}"
            _check_output_not_empty(x, (rows, columns), strides, what)
            return None
        return [*strides, *paddings, *dilations, self._groups]

    def output_shape(self, x: Tensor, geometry: Sequence[int]) -> list[int]:
        """Return the output's shape for an input `x`, N x C x H x W, and its `geometry`."""
        sizes = []
        for axis in (0, 1):
            extent = geometry[6 + axis] * (self.weight.shape[2 + axis] - 1) + 1
            sizes.append(
                (x.shape[2 + axis] + sum(geometry[2 + 2 * axis : 4 + 2 * axis]) - extent) // geometry[axis] + 1
            )
        return [x.shape[0], self.weight.shape[0], *sizes]


class BatchNorm(nn.BatchNorm):
    """`paddle.nn.BatchNorm` on native operators.

    Attributes:
        synchronized: whether the statistics are computed over the batches of all processes.
    """

    synchronized = False

    def forward(self, x: Tensor) -> Tensor:
        if self.synchronized and self.uses_batch_statistics:
            y = synchronized_norm(
                operators.to_float32(x),
                self.weight,
                self.bias,
                self._mean,
                self._variance,
                momentum=self._momentum,
                epsilon=self._epsilon,
                data_layout=self._data_layout,
            )
            return y if self._act is None else getattr(F, self._act)(y)
        if self.supports(x, self._act):
            return self.forward_native(x, self._act)
        if paddle.in_dynamic_mode() and self.uses_batch_statistics and not self.has_contiguous_statistics:
            raise ValueError(
                "batch norm: expected contiguous running statistics to update in place, got a strided view"
            )
        return super().forward(operators.to_float32(x))

    @property
    def has_contiguous_statistics(self) -> bool:
        """Whether the running statistics can be updated in place: operators receive a copy of a strided view."""
        parameters = self._parameters  # attribute lookup on a Layer is slow
        return parameters["_mean"].is_contiguous() and parameters["_variance"].is_contiguous()

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether the norm currently normalizes by the statistics of the batch and updates the running ones."""
        return self.training and not self._use_global_stats

    def supports(self, x: Tensor, activation: str | None, residual: Tensor | None = None) -> bool:
        """Whether `forward_native` can compute activation(norm(x) + residual) in the current mode."""
        if not native.supports(x) or not self.is_fusable(activation, residual):
            return False
        if residual is not None and not _same_shape_and_dtype(x, residual):
            return False
        # In training, PaddlePaddle returns an input with a single value per channel unchanged.
        batch, _, height, width = x.shape
        return batch * height * width > 1 if self.uses_batch_statistics else not paddle.is_grad_enabled()

    def is_fusable(self, activation: str | None, residual: Tensor | None) -> bool:
        """Whether the norm's options and mode, activation and residual are supported; `supports` checks `x`, too."""
        known = operators.ACTIVATION_CODES if residual is None else operators.INVERTIBLE_ACTIVATIONS
        plain = self._data_layout == "NCHW" and not self._trainable_statistics
        if activation not in known or not plain or (self.synchronized and self.uses_batch_statistics):
            return False
        parameters = self._parameters
        has_affine = parameters.get("weight") is not None and parameters.get("bias") is not None
        return has_affine and self.has_contiguous_statistics

    def forward_native(self, x: Tensor, activation: str | None, residual: Tensor | None = None) -> Tensor:
        """Return activation(norm(x) + residual); the caller has checked `supports`."""
        if not self.uses_batch_statistics:
            return operators.batch_norm_inference(
                x, self.tensors, epsilon=self._epsilon, activation=activation, residual=residual
            )
        return operators.batch_norm(
            x,
            self.tensors,
            momentum=self._momentum,
            epsilon=self._epsilon,
            activation=activation,
            residual=residual,
        )

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weight, bias, running mean and running variance."""
        parameters = self._parameters  # attribute lookup on a Layer is slow
        return parameters["weight"], parameters["bias"], parameters["_mean"], parameters["_variance"]


class BatchNorm2D(BatchNorm):
    """`BatchNorm` with the generated parameter names of `paddle.nn.BatchNorm2D` (`batch_norm2d_0.w_0`, ...)."""


class Linear(nn.Linear):
    """`paddle.nn.Linear` on native operators."""

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is not None and native.supports(x, 2):
            return operators.linear(x, self.weight, self.bias)
        return super().forward(operators.to_float32(x))


def _check_not_empty(x: Tensor) -> None:
    """Raise an error for an empty input: in PaddlePaddle 2.6, pooling it ends the process in the backward pass.

    Raises:
        ValueError: `x` has no elements, and the installed PaddlePaddle does not support that.
    """
    if not _SUPPORTS_EMPTY_BATCHES and 0 in x.shape:
        problem = f"expected at least one image, got an input of shape {list(x.shape)}"
        raise ValueError(f"pooling: {problem}; PaddlePaddle 2.6 does not support empty batches")


class MaxPool2D(nn.MaxPool2D):
    """`paddle.nn.MaxPool2D` on native operators."""

    def forward(self, x: Tensor) -> Tensor:
        geometry = None if self.return_mask else _pool_geometry(self, x)
        if geometry is not None and geometry[0] * geometry[1] <= operators.MAX_POOL_WINDOW:
            return operators.max_pool(x, geometry)
        _check_not_empty(x)
        return super().forward(operators.to_float32(x))


class AvgPool2D(nn.AvgPool2D):
    """`paddle.nn.AvgPool2D` on native operators."""

    def forward(self, x: Tensor) -> Tensor:
        geometry = None if self.divisor is not None else _pool_geometry(self, x)
        if geometry is not None:
            return operators.average_pool(x, geometry, padded=not self.exclusive)
        _check_not_empty(x)
        return super().forward(operators.to_float32(x))


class AdaptiveAvgPool2D(nn.AdaptiveAvgPool2D):
    """`paddle.nn.AdaptiveAvgPool2D` on native operators."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = self._output_size if isinstance(self._output_size, (list, tuple)) else (self._output_size,) * 2
        if None not in sizes and self._data_format == "NCHW" and native.supports(x):
            return operators.average_pool(x, [int(size) for size in sizes])
        _check_not_empty(x)
        return super().forward(operators.to_float32(x))


def synchronize_norms(network: nn.Layer) -> None:
    """Make all batch norms of `network` compute their statistics over the batches of all processes that train it."""
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, BatchNorm):
            layer.synchronized = True


def has_synchronized_norms(network: nn.Layer) -> bool:
    """Whether the batch norms of `network` use the batches of all processes; see `synchronize_norms`."""
    return any(isinstance(layer, BatchNorm) and layer.synchronized for layer in network.sublayers(include_self=True))


def fusable(
    conv: nn.Layer, norm: nn.Layer, act: nn.Layer, x: Tensor, residual: Tensor | None = None
) -> operators.ConvNormStage | None:
    """Return the arguments of the native operator that trains act(norm(conv(x)) + residual); None if unsupported.

    The caller has checked `ppzoo.native.supports(x)`.
    """
    if not (is_plain(conv, Conv2D) and is_plain(norm, BatchNorm)) or conv.bias is not None or norm._act is not None:
        return None
    if not norm.uses_batch_statistics or x.shape[0] < 2:
        return None
    name, geometry = activation_name(act), conv.geometry(x)
    if geometry is None or not norm.is_fusable(name, residual):
        return None
    if residual is not None and not (residual.shape == conv.output_shape(x, geometry) and residual.dtype == x.dtype):
        return None
    weight = conv._parameters["weight"]  # attribute lookup on a Layer is slow
    return operators.ConvNormStage(weight, norm.tensors, geometry, norm._momentum, norm._epsilon, name)


def conv_norm_act(conv: nn.Layer, norm: nn.Layer, act: nn.Layer, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Return act(norm(conv(x)) + residual) with as few operators as possible; `residual` can be None."""
    stage = fusable(conv, norm, act, x, residual) if native.supports(x) else None
    if stage is not None:
        return operators.conv_batch_norm(x, stage, residual)
    y = conv(x)
    if is_plain(norm, BatchNorm) and norm._act is None:
        name = activation_name(act)
        if norm.supports(y, name, residual):
            return norm.forward_native(y, name, residual)
    y = operators.to_float32(norm(y))
    return act(y if residual is None else add(y, operators.to_float32(residual)))


def repvgg_branches(
    dense: tuple[nn.Layer, nn.Layer, nn.Layer],
    pointwise: tuple[nn.Layer, nn.Layer, nn.Layer],
    identity: nn.Layer | None,
    x: Tensor,
) -> Tensor | None:
    """Return ReLU(dense(x) + pointwise(x) + identity(x)) in training, computed by one operator; None if unsupported.

    Args:
        dense, pointwise: a 3x3 and a 1x1 convolution, each with its norm and activation.
        identity: the batch norm of the identity branch; None if the block has no such branch.
    """
    if not native.supports(x):
        return None
    first, second = fusable(*dense, x), fusable(*pointwise, x)
    if first is None or second is None or not operators.is_repvgg_block(first, second):
        return None
    if identity is None:
        return operators.repvgg_block(x, first, second, None)
    if not is_plain(identity, BatchNorm) or identity._act is not None or not identity.uses_batch_statistics:
        return None
    if not identity.is_fusable(None, None) or list(first.geometry[:2]) != [1, 1] or x.shape[1] != first.weight.shape[0]:
        return None
    norm = operators.NormStage(identity.tensors, identity._momentum, identity._epsilon)
    return operators.repvgg_block(x, first, second, norm)


def norm_act(norm: nn.Layer, activation: str | None, x: Tensor) -> Tensor:
    """Return activation(norm(x)); without an activation (None), norm(x)."""
    if is_plain(norm, BatchNorm) and norm._act is None and norm.supports(x, activation):
        return norm.forward_native(x, activation)
    y = norm(x)
    return y if activation is None else getattr(F, activation)(y)


def is_plain(layer: nn.Layer, kind: type[nn.Layer]) -> bool:
    """Whether calling `layer` runs exactly `kind.forward`: no hooks, no override."""
    attributes = layer.__dict__  # attribute lookup on a Layer is slow
    return (
        type(layer).forward is kind.forward
        and "forward" not in attributes
        and not attributes["_forward_pre_hooks"]
        and not attributes["_forward_post_hooks"]
    )


def is_pointwise(conv: nn.Layer, x: Tensor) -> bool:
    """Whether calling `conv` with `x` runs exactly a 1x1 convolution of all pixels, without groups."""
    if not is_plain(conv, Conv2D) or conv._parameters["weight"].shape[2:] != [1, 1]:
        return False
    return conv.geometry(x) == operators.POINTWISE_GEOMETRY


def activation_name(act: nn.Layer) -> str | None:
    """Return the native operators' name of an activation: None for the identity, "unknown" for unsupported ones."""
    return ACTIVATION_NAMES.get(type(act), "unknown") if is_plain(act, type(act)) else "unknown"


def activate(act: nn.Layer, x: Tensor) -> Tensor:
    """Return act(x)."""
    name = activation_name(act)
    if name is not None and name in operators.ACTIVATION_CODES and native.supports(x):
        return operators.activate(x, name)
    return act(x)


def _same_shape_and_dtype(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y for two tensors N x C x H x W."""
    return operators.add(x, y) if native.supports(x) and _same_shape_and_dtype(x, y) else x + y


def add_scaled(x: Tensor, y: Tensor, factors: Tensor) -> Tensor:
    """Return x + factors * y for two tensors N x C x H x W and one factor per image."""
    if native.supports(x) and _same_shape_and_dtype(x, y):
        return operators.add_scaled(x, y, factors)
    return x + y * factors.astype(y.dtype).reshape([-1, 1, 1, 1])


def use_twice(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `x` twice, for the two branches of a block; in bfloat16, a native operator adds their gradients."""
    return operators.use_twice(x)


def conv_relu(conv: nn.Layer, x: Tensor) -> Tensor:
    """Return ReLU(conv(x)), computed by one operator where that is possible."""
    if native.supports(x) and is_plain(conv, Conv2D) and conv.bias is not None:
        geometry = conv.geometry(x)
        if geometry is not None:
            return operators.convolve(x, conv.weight, conv.bias, geometry, "relu")
    return relu(conv(x))


def relu(x: Tensor) -> Tensor:
    return operators.activate(x, "relu") if native.supports(x) else F.relu(x)


def add_relu(x: Tensor, y: Tensor) -> Tensor:
    """Return ReLU(x + y) for two tensors N x C x H x W."""
    return operators.add(x, y, "relu") if native.supports(x) and _same_shape_and_dtype(x, y) else F.relu(x + y)


def concat(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors N x C x H x W along the channel axis."""
    known = native.supports(parts[0]) and all(part.dtype == parts[0].dtype and 0 not in part.shape for part in parts)
    return operators.concat(parts) if known else paddle.concat(list(parts), axis=1)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` equal groups: the first channel of each group, the second of each, ...

    Zhang et al., arXiv:1707.01083, section 3.1, figure 1. Implemented with split and stack: reshape and transpose take
    four times as long on a CPU and need the image size, which is variable in some exported programs, and Paddle2ONNX
    does not support `paddle.nn.functional.channel_shuffle`.

    Shape: N x C x H x W, C a multiple of `groups`, to the same.
    """
    return paddle.stack(paddle.split(x, groups, axis=1), axis=2).flatten(1, 2)


def shuffled_concat(parts: Sequence[Tensor]) -> Tensor:
    """Return channel_shuffle(concat(parts), len(parts)) for tensors N x C x H x W of equal shape."""
    if native.supports(parts[0]) and all(_same_shape_and_dtype(parts[0], part) for part in parts):
        return operators.concat(parts, shuffled=True)
    return channel_shuffle(paddle.concat(list(parts), axis=1), len(parts))


def halve(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split N x C x H x W, C even, into the first and the second half of its channels."""
    return operators.split_halves(x) if native.supports(x) else tuple(paddle.split(x, 2, axis=1))


def scale_channels(x: Tensor, gate: Tensor) -> Tensor:
    """Return x * gate for x: N x C x H x W and gate: N x C x 1 x 1."""
    known = native.supports(x) and gate.shape == [*x.shape[:2], 1, 1] and gate.dtype == x.dtype
    return operators.scale_channels(x, gate) if known else x * gate
