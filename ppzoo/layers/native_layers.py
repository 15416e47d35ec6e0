"""PaddlePaddle's layers, computed by `ppzoo.native` where that is in use.

Each bears the name of the layer that it stands for, has its parameters, and gives them the same generated names (which
PaddlePaddle makes from the class's name), so that checkpoints and exports cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppzoo import native
from ppzoo.layers.channel_shuffle import channel_shuffle
from ppzoo.layers.sync_norm import synchronized_norm
from ppzoo.native import operators


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(number) for number in value]


def _paddings(padding: object) -> list[int] | None:
    """Top, bottom, left, right of a padding as PaddlePaddle takes it; None for one spelt otherwise ("SAME")."""
    if isinstance(padding, int):
        return [padding] * 4
    if not isinstance(padding, (list, tuple)) or not all(isinstance(number, int) for number in padding):
        return None
    if len(padding) == 2:
        return [padding[0], padding[0], padding[1], padding[1]]
    return list(padding) if len(padding) == 4 else None


def _require_results(x: Tensor, room: Sequence[int], strides: Sequence[int], what: str) -> None:
    """Refuse a filter or window so much larger than the map that nothing is left of it.

    PaddlePaddle computes on with maps that have no pixels, or ends in a signal.

    Args:
        room: by how much height and width with the paddings are larger than the filter; negative where smaller.

    Raises:
        ValueError: there is no result.
    """
    for size, spare, stride in zip(x.shape[2:], room, strides, strict=True):
        if size > 0 and spare <= -stride:  # a size in a static program may be -1
            raise ValueError(f"{what}: expected an input that it fits into, got one of shape {list(x.shape)}")


def _pool_geometry(pool: nn.Layer, x: Tensor) -> list[int] | None:
    """Kernel, strides, paddings and ceil mode for `x` as the native operators take them; None if they cannot.

    They want every window to see some of the values of `x`; PaddlePaddle also has results for others.
    """
    paddings, kernel = _paddings(pool.padding), _pair(pool.ksize)
    stride = _pair(pool.ksize if pool.stride is None else pool.stride)
    if paddings is None or pool.data_format != "NCHW":
        return None
    room = [size + sum(paddings[2 * axis : 2 * axis + 2]) - kernel[axis] for axis, size in enumerate(x.shape[2:])]
    rounded = [spare + (step - 1 if pool.ceil_mode else 0) for spare, step in zip(room, stride, strict=True)]
    if min(rounded) < 0:
        _require_results(x, rounded, stride, f"pooling with a window of {kernel[0]} x {kernel[1]}")
    fits = native.supports(x) and min(room) >= 0 and min(paddings) >= 0
    for axis, size in enumerate(x.shape[2:]):
        before, last = paddings[2 * axis], rounded[axis] // stride[axis] * stride[axis]
        fits = fits and before < kernel[axis] and last - before < size
    return [*kernel, *stride, *paddings, int(pool.ceil_mode)] if fits else None


def _same(size: int, kernel: int, stride: int) -> list[int]:
    """Paddings before and after `size` values, for which "SAME" gives ceil(size / stride) results."""
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
    """`paddle.nn.Conv2D`."""

    def forward(self, x: Tensor) -> Tensor:
        geometry = self.geometry(x)
        if geometry is not None and native.supports(x):
            return operators.convolve(x, self.weight, self.bias, geometry)
        return super().forward(x)

    def geometry(self, x: Tensor) -> list[int] | None:
        """Strides, paddings, dilations and groups for `x` as the native operators take them; None if they cannot.

        Raises:
            ValueError: the filter is so much larger than `x` that there is no result.
        """
        if self._padding_mode != "zeros" or self._data_format != "NCHW":
            return None
        strides, dilations, paddings = self._stride, self._dilation, _paddings(self._padding)
        _, _, height, width = x.shape
        _, _, kernel_h, kernel_w = self._parameters["weight"].shape  # a Layer's attributes are found slowly
        if self._padding == "VALID":
            paddings = [0] * 4
        elif self._padding == "SAME" and dilations == [1, 1]:
            paddings = _same(height, kernel_h, strides[0]) + _same(width, kernel_w, strides[1])
        if paddings is None or min(paddings) < 0:
            return None
        top, bottom, left, right = paddings
        rows = height + top + bottom - dilations[0] * (kernel_h - 1) - 1
        columns = width + left + right - dilations[1] * (kernel_w - 1) - 1
        if rows < 0 or columns < 0:
            _require_results(x, (rows, columns), strides, f"convolution with a filter of {kernel_h} x {kernel_w}")
            return None
        return [*strides, *paddings, *dilations, self._groups]

    def output_shape(self, x: Tensor, geometry: Sequence[int]) -> list[int]:
        """The shape of the result for `x`, N x C x H x W, with its `geometry`."""
        sizes = []
        for axis in (0, 1):
            extent = geometry[6 + axis] * (self.weight.shape[2 + axis] - 1) + 1
            sizes.append(
                (x.shape[2 + axis] + sum(geometry[2 + 2 * axis : 4 + 2 * axis]) - extent) // geometry[axis] + 1
            )
        return [x.shape[0], self.weight.shape[0], *sizes]


class BatchNorm(nn.BatchNorm):
    """`paddle.nn.BatchNorm`.

    Attributes:
        synchronized: whether its statistics are those of the batches of all processes.
    """

    synchronized = False

    def forward(self, x: Tensor) -> Tensor:
        if self.synchronized and self.learns:
            return synchronized_norm(self, x)
        if self.fits(x, self._act):
            return self.fused(x, self._act)
        if paddle.in_dynamic_mode() and self.learns and not self.has_plain_statistics:
            raise ValueError("batch norm: expected running statistics to update in place, got a strided view")
        return super().forward(x)

    @property
    def has_plain_statistics(self) -> bool:
        """Whether the running statistics can be written to: of a strided view PaddlePaddle hands over a copy."""
        own = self._parameters  # a Layer's attributes are found slowly
        return own["_mean"].is_contiguous() and own["_variance"].is_contiguous()

    @property
    def learns(self) -> bool:
        """Whether the norm takes its statistics from the batch now."""
        return self.training and not self._use_global_stats

    def fits(self, x: Tensor, activation: str | None, residual: Tensor | None = None) -> bool:
        """Whether the native operators can compute activation(norm(x) + residual) now."""
        if not native.supports(x) or not self.fuses(activation, residual):
            return False
        if residual is not None and not _alike(x, residual):
            return False
        # PaddlePaddle hands a single value a channel on as it is.
        batch, _, height, width = x.shape
        return batch * height * width > 1 if self.learns else not paddle.is_grad_enabled()

    def fuses(self, activation: str | None, residual: Tensor | None) -> bool:
        """What `fits` asks of the layer alone."""
        known = operators.ACTIVATION_CODES if residual is None else operators.INVERTIBLE_ACTIVATIONS
        plain = self._data_layout == "NCHW" and not self._trainable_statistics
        if activation not in known or not plain or (self.synchronized and self.learns):
            return False
        own = self._parameters
        return own["weight"] is not None and own["bias"] is not None and self.has_plain_statistics

    def fused(self, x: Tensor, activation: str | None, residual: Tensor | None = None) -> Tensor:
        """activation(norm(x) + residual), where `fits`."""
        if not self.learns:
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
        own = self._parameters  # a Layer's attributes are found slowly
        return own["weight"], own["bias"], own["_mean"], own["_variance"]


class Linear(nn.Linear):
    """`paddle.nn.Linear`."""

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is not None and native.supports(x, 2):
            return operators.linear(x, self.weight, self.bias)
        return super().forward(x)


class MaxPool2D(nn.MaxPool2D):
    """`paddle.nn.MaxPool2D`."""

    def forward(self, x: Tensor) -> Tensor:
        geometry = None if self.return_mask else _pool_geometry(self, x)
        if geometry is not None and geometry[0] * geometry[1] <= operators.MAX_POOL_WINDOW:
            return operators.max_pool(x, geometry)
        return super().forward(x)


class AvgPool2D(nn.AvgPool2D):
    """`paddle.nn.AvgPool2D`."""

    def forward(self, x: Tensor) -> Tensor:
        geometry = None if self.divisor is not None else _pool_geometry(self, x)
        if geometry is not None:
            return operators.average_pool(x, geometry, padded=not self.exclusive)
        return super().forward(x)


class AdaptiveAvgPool2D(nn.AdaptiveAvgPool2D):
    """`paddle.nn.AdaptiveAvgPool2D`."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = self._output_size if isinstance(self._output_size, (list, tuple)) else (self._output_size,) * 2
        if None not in sizes and self._data_format == "NCHW" and native.supports(x):
            return operators.average_pool(x, [int(size) for size in sizes])
        return super().forward(x)


def synchronize_norms(network: nn.Layer) -> None:
    """Let the batch norms of `network` see the batches of all processes, which must train it together."""
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, BatchNorm):
            layer.synchronized = True


def fusable(
    conv: nn.Layer, norm: nn.Layer, act: nn.Layer, x: Tensor, residual: Tensor | None = None
) -> operators.ConvNormStage | None:
    """What a native operator needs to train act(norm(conv(x)) + residual); None where none can.

    Callers have asked `ppzoo.native.supports(x)` before.
    """
    if not (is_plain(conv, Conv2D) and is_plain(norm, BatchNorm)) or conv.bias is not None or norm._act is not None:
        return None
    if not norm.learns or x.shape[0] < 2:
        return None
    name, geometry = _activation_name(act), conv.geometry(x)
    if geometry is None or not norm.fuses(name, residual):
        return None
    if residual is not None and not (residual.shape == conv.output_shape(x, geometry) and residual.dtype == x.dtype):
        return None
    return operators.ConvNormStage(conv.weight, norm.tensors, geometry, norm._momentum, norm._epsilon, name)


def conv_norm_act(conv: nn.Layer, norm: nn.Layer, act: nn.Layer, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """act(norm(conv(x)) + residual), in as few operators as can be; `residual` may be None."""
    stage = fusable(conv, norm, act, x, residual) if native.supports(x) else None
    if stage is not None:
        return operators.conv_batch_norm(x, stage, residual)
    y = conv(x)
    if is_plain(norm, BatchNorm) and norm._act is None:
        name = _activation_name(act)
        if norm.fits(y, name, residual):
            return norm.fused(y, name, residual)
    y = norm(y)
    return act(y if residual is None else add(y, residual))


def norm_act(norm: nn.Layer, activation: str | None, x: Tensor) -> Tensor:
    """The activation called `activation` of norm(x)."""
    if is_plain(norm, BatchNorm) and norm._act is None and norm.fits(x, activation):
        return norm.fused(x, activation)
    y = norm(x)
    return y if activation is None else getattr(F, activation)(y)


def is_plain(layer: nn.Layer, kind: type[nn.Layer]) -> bool:
    """Whether calling `layer` runs `kind.forward` and nothing else: no hook, and no other forward in its place."""
    own = layer.__dict__  # a Layer's attributes are found slowly
    watched = own["_forward_pre_hooks"] or own["_forward_post_hooks"]
    return isinstance(layer, kind) and type(layer).forward is kind.forward and not watched and "forward" not in own


def _activation_name(act: nn.Layer) -> str | None:
    """The name of an activation that the native operators know, None for the identity; else "unknown"."""
    return ACTIVATION_NAMES.get(type(act), "unknown") if is_plain(act, type(act)) else "unknown"


def _alike(x: Tensor, y: Tensor) -> bool:
    """Whether `y` has the shape and the type of `x`, on which the native operators can compute."""
    return x.shape == y.shape and x.dtype == y.dtype


def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y, two tensors N x C x H x W."""
    return operators.add(x, y) if native.supports(x) and _alike(x, y) else x + y


def relu(x: Tensor) -> Tensor:
    return operators.activate(x, "relu") if native.supports(x) else F.relu(x)


def add_relu(x: Tensor, y: Tensor) -> Tensor:
    """ReLU(x + y) of two tensors N x C x H x W."""
    return operators.add(x, y, "relu") if native.supports(x) and _alike(x, y) else F.relu(x + y)


def concat(parts: Sequence[Tensor]) -> Tensor:
    """Tensors N x C x H x W one after the other along their channels."""
    known = native.supports(parts[0]) and all(part.dtype == parts[0].dtype and 0 not in part.shape for part in parts)
    return operators.concat(parts) if known else paddle.concat(list(parts), axis=1)


def shuffled_concat(parts: Sequence[Tensor]) -> Tensor:
    """Tensors N x C x H x W of equal shape joined along their channels, which are dealt out in turn.

    The channel shuffle of Zhang et al., arXiv:1707.01083, after a concatenation: first the first channel of each part,
    then the second of each, ...
    """
    if native.supports(parts[0]) and all(_alike(parts[0], part) for part in parts):
        return operators.concat(parts, shuffled=True)
    return channel_shuffle(paddle.concat(list(parts), axis=1), len(parts))


def halve(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second half of the channels of N x C x H x W, C even."""
    return operators.split_halves(x) if native.supports(x) else tuple(paddle.split(x, 2, axis=1))


def scale_channels(x: Tensor, gate: Tensor) -> Tensor:
    """x * gate: N x C x H x W, and N x C x 1 x 1."""
    known = native.supports(x) and gate.shape == [*x.shape[:2], 1, 1] and gate.dtype == x.dtype
    return operators.scale_channels(x, gate) if known else x * gate
