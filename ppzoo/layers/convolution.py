"""Convolutions outside a convolution-norm-activation block, and the one block whose convolution has a bias as well."""

from __future__ import annotations

from paddle import nn

from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import Conv2D
from ppzoo.layers.param_names import bias_attr, weight_attr


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    bias: bool = True,
    name: str | None = None,
    initializer: nn.initializer.Initializer | None = None,
) -> Conv2D:
    """A convolution whose parameters are `NAME_weights` and `NAME_offset`, or have generated names without `name`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: those of `ConvBNLayer`.
        bias: whether a number is added to each output channel.
        name: common part of the two parameter names.
        initializer: initializer of filter and bias; PaddlePaddle's own (normal by fan-in, zero) by default.
    """
    return Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=(kernel_size - 1) // 2 if padding is None else padding,
        weight_attr=weight_attr(name, initializer=initializer),
        bias_attr=bias_attr(name, initializer=initializer) if bias else False,
    )


class BiasedConvBNLayer(ConvBNLayer):
    """`ConvBNLayer` whose convolution adds a bias, `NAME_offset`, that the norm takes away again.

    Networks told after PyTorch's defaults have it: their published parameter counts include these biases.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, name: str | None = None, **options
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, name=name, **options)
        self.conv.bias = self.conv.create_parameter([out_channels], attr=bias_attr(name), is_bias=True)
