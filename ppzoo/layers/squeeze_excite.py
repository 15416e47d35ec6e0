"""Squeeze-and-excitation with linear layers (SE residual networks) and with 1x1 convolutions (mobile networks).

Hu, Shen, Albanie, Sun, Wu: "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507, section 3 and figure 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppzoo import native
from ppzoo.layers.native_layers import (
    AdaptiveAvgPool2D,
    Conv2D,
    Linear,
    activation_name,
    is_plain,
    is_pointwise,
    scale_channels,
)
from ppzoo.layers.param_names import bias_attr, uniform_linear, weight_attr
from ppzoo.native import operators


def clip_gate(x: Tensor) -> Tensor:
    """Return x, limited to [0, 1]: the gate of GhostNet."""
    return paddle.clip(x, 0, 1)


class HardSigmoid(nn.Layer):
    """min(max(slope x + offset, 0), 1); `paddle.nn.Hardsigmoid` does not have the arguments `slope` and `offset`."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope, self.offset = slope, offset

    def forward(self, x):
        return F.hardsigmoid(x, slope=self.slope, offset=self.offset)


class SELayer(nn.Layer):
    """Multiply each channel by a gate between 0 and 1, computed by two linear layers from the means of all channels.

    Args:
        channels: channels of the input and the output.
        reduction: the hidden layer has `channels // reduction` units.
        gate: the function after the second linear layer.
        name: the parameters are `NAME_sqz_weights`, `NAME_sqz_offset`, `NAME_exc_weights`, `NAME_exc_offset`.
        suffixes: what the parameter names of the two linear layers have between `NAME` and "_weights" or "_offset".
        data_format: layout of the input and the output, "NCHW" or "NHWC".

    Shape: N x channels x H x W to the same.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        gate: Callable[[Tensor], Tensor] = F.sigmoid,
        name: str | None = None,
        suffixes: tuple[str, str] = ("_sqz", "_exc"),
        data_format: str = "NCHW",
    ) -> None:
        super().__init__()
        self.spatial_axes = [1, 2] if data_format == "NHWC" else [2, 3]
        self.pool2d_gap = AdaptiveAvgPool2D(1, data_format=data_format)
        names = [name and name + suffix for suffix in suffixes]
        self.squeeze = uniform_linear(channels, channels // reduction, names[0])
        self.excitation = uniform_linear(channels // reduction, channels, names[1])
        self.gate = gate

    def forward(self, x):
        dense = self.squeeze, self.excitation
        if self.spatial_axes == [2, 3] and native.supports(x) and all(is_plain(layer, Linear) for layer in dense):
            arguments = _native_arguments(self.pool2d_gap, dense, "relu", self.gate)
            if arguments is not None:
                return operators.squeeze_excite(x, arguments)
        means = self.pool2d_gap(x).flatten(1)
        gate = self.gate(self.excitation(F.relu(self.squeeze(means))))
        return scale_channels(x, gate.unsqueeze(self.spatial_axes))


class ConvSqueezeExcite(nn.Layer):
    """Multiply each channel by a gate, computed by two 1x1 convolutions with bias from the means of all channels.

    Args:
        channels: channels of the input and the output.
        squeezed: channels between the two convolutions.
        act: the activation between them.
        gate: the activation after them.
        lr_mult: factor of the learning rate of all parameters.
        name: the parameters are `NAME_reduce_weights`, `NAME_expand_weights`, ...; by default, generated names.

    Shape: N x channels x H x W to the same.
    """

    reduce_key, expand_key = "conv1", "conv2"

    def __init__(
        self,
        channels: int,
        squeezed: int,
        *,
        act: nn.Layer,
        gate: nn.Layer,
        lr_mult: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.pool = AdaptiveAvgPool2D(1)
        self.add_sublayer(self.reduce_key, _pointwise(channels, squeezed, lr_mult, name and f"{name}_reduce"))
        self.add_sublayer(self.expand_key, _pointwise(squeezed, channels, lr_mult, name and f"{name}_expand"))
        self.act = act
        self.gate = gate

    def forward(self, x):
        arguments = self.native_arguments(x) if native.supports(x) else None
        if arguments is not None:
            return operators.squeeze_excite(x, arguments)
        reduce, expand = self.convolutions
        return scale_channels(x, self.gate(expand(self.act(reduce(self.pool(x))))))

    @property
    def convolutions(self) -> tuple[nn.Layer, nn.Layer]:
        return self._sub_layers[self.reduce_key], self._sub_layers[self.expand_key]

    def native_arguments(self, x: Tensor) -> operators.SqueezeExcite | None:
        """Return the arguments of the native operators that compute `forward`; None if they do not support it.

        Args:
            x: a tensor N x C x H x W, whose sizes do not matter. The caller has checked `ppzoo.native.supports(x)`.
        """
        if not all(is_pointwise(convolution, x) for convolution in self.convolutions):
            return None
        return _native_arguments(self.pool, self.convolutions, activation_name(self.act), self.gate)


_SIGMOID = operators.Gate("sigmoid")
# The numbers are the slope and the offset of PaddlePaddle's `Hardsigmoid`.
_GATES = {nn.Sigmoid: _SIGMOID, nn.Hardsigmoid: operators.Gate("hardsigmoid", 0.1666667, 0.5)}


def _native_gate(gate: Callable[[Tensor], Tensor]) -> operators.Gate | None:
    """Return the native operator's gate that computes `gate`; None if it has none."""
    if gate is F.sigmoid:
        return _SIGMOID
    if gate is clip_gate:
        return operators.Gate("clip" if _clip_has_gradient_at_limits() else "hardsigmoid")
    if not isinstance(gate, nn.Layer) or not is_plain(gate, type(gate)):
        return None
    if type(gate) is HardSigmoid:
        return operators.Gate("hardsigmoid", gate.slope, gate.offset)
    return _GATES.get(type(gate))


@cache
def _clip_has_gradient_at_limits() -> bool:
    """Return whether the derivative of `paddle.clip` is 1 at its limits, as in PaddlePaddle 3; in 2.6 it is 0.

    Gates are exactly at a limit if all units of the hidden layer are zero, which is frequent in a new network.
    """
    with paddle.enable_grad():
        x = paddle.zeros([1])
        x.stop_gradient = False
        return bool(paddle.grad([clip_gate(x)], [x])[0] == 1)


def _native_arguments(
    pool: nn.Layer,
    dense: tuple[nn.Layer, nn.Layer],
    activation: str | None,
    gate: Callable[[Tensor], Tensor],
) -> operators.SqueezeExcite | None:
    """Return the arguments of the native operators that compute these layers; None if they do not support them.

    Args:
        dense: two linear layers or two 1x1 convolutions, whose calls the operator replaces.
        activation: the name of the activation between them, as `activation_name` returns it.
    """
    native_gate = _native_gate(gate)
    if native_gate is None or activation not in operators.ACTIVATION_CODES:
        return None
    if not is_plain(pool, AdaptiveAvgPool2D) or pool._output_size not in (1, (1, 1)):
        return None
    squeeze, excite = [(layer._parameters["weight"], layer._parameters["bias"]) for layer in dense]
    if squeeze[1] is None or excite[1] is None:
        return None
    return operators.SqueezeExcite(squeeze, excite, activation, native_gate)


def _pointwise(in_channels: int, out_channels: int, lr_mult: float, name: str | None) -> Conv2D:
    attributes = {"learning_rate": lr_mult}
    return Conv2D(
        in_channels,
        out_channels,
        1,
        weight_attr=weight_attr(name, **attributes),
        bias_attr=bias_attr(name, **attributes),
    )
