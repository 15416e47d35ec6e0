"""Squeeze-and-excitation made of convolutions, as the mobile networks have it."""

from __future__ import annotations

from paddle import nn

from ppzoo.layers.native_layers import AdaptiveAvgPool2D, Conv2D, scale_channels
from ppzoo.layers.param_names import bias_attr, weight_attr


class ConvSqueezeExcite(nn.Layer):
    """Scale every channel by a gate that sees all channels' means through two 1x1 convolutions with bias.

    Hu, Shen, Sun: "Squeeze-and-Excitation Networks", arXiv:1709.01507, section 3, with its fully connected layers
    written as 1x1 convolutions.

    Args:
        channels: channels of the input and the output.
        squeezed: channels between the two convolutions.
        act: the activation between them.
        gate: the activation after them.
        name: the convolutions' parameters are `NAME_reduce_weights`, `NAME_expand_weights`, ...; generated names
            without it.

    Shape: N x channels x H x W to the same.
    """

    reduce_key, expand_key = "conv1", "conv2"

    def __init__(self, channels: int, squeezed: int, *, act: nn.Layer, gate: nn.Layer, name: str | None = None) -> None:
        super().__init__()
        self.pool = AdaptiveAvgPool2D(1)
        self.add_sublayer(self.reduce_key, _pointwise(channels, squeezed, name and f"{name}_reduce"))
        self.add_sublayer(self.expand_key, _pointwise(squeezed, channels, name and f"{name}_expand"))
        self.act = act
        self.gate = gate

    def forward(self, x):
        y = self.act(self._sub_layers[self.reduce_key](self.pool(x)))
        return scale_channels(x, self.gate(self._sub_layers[self.expand_key](y)))


def _pointwise(in_channels: int, out_channels: int, name: str | None) -> Conv2D:
    return Conv2D(in_channels, out_channels, 1, weight_attr=weight_attr(name), bias_attr=bias_attr(name))
