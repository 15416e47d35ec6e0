"""Convolution, batch norm and activation in one block, and convolutions without a batch norm.

PaddleClas names the block's two sublayers in two ways, and checkpoints are keyed by these names: `conv` and `bn` with
generated parameter names (ResNet, MobileNetV1, MobileNetV3), `_conv` and `_batch_norm` with explicit ones
(MobileNetV2, ShuffleNetV2, the SE networks, ...).
"""

from __future__ import annotations

from typing import Any

from paddle import nn

from ppzoo.layers.basic import activation
from ppzoo.layers.native_layers import BatchNorm, BatchNorm2D, Conv2D, conv_norm_act
from ppzoo.layers.param_names import batch_norm, bias_attr, weight_attr


class ConvBNLayer(nn.Layer):
    """Convolution without bias, batch norm and activation; sublayers `conv` and `bn`, generated parameter names.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square kernel, in pixels.
        stride: stride of the convolution, in pixels; a pair for different vertical and horizontal strides.
        padding: zeros on each side; by default `(kernel_size - 1) // 2`, which keeps the size at stride 1 if the kernel
            is odd; "SAME" keeps it with an even kernel, too.
        groups: groups of the convolution; `in_channels` makes it depthwise.
        act: name of the activation after the norm, or None.
        data_format: layout of the input and the output, "NCHW" or "NHWC".
        weight_init: initializer of the kernel; by default PaddlePaddle's (normal, by fan-in).
        lr_mult: factor of the learning rate of all parameters.
        name: the kernel is named `NAME_weights`; by default, a generated name.
        norm_name: common prefix of the batch norm's four parameter names; by default, generated names.
        norm: further arguments of `batch_norm` (layer, decay, momentum, epsilon, param_attr, bias_attr).

    Shape: N x in_channels x H x W to N x out_channels x H' x W',
    with H' = floor((H + 2 padding - kernel_size) / stride) + 1.
    """

    conv_key, norm_key = "conv", "bn"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | str | None = None,
        groups: int = 1,
        act: str | None = "relu",
        data_format: str = "NCHW",
        weight_init: nn.initializer.Initializer | None = None,
        lr_mult: float = 1.0,
        name: str | None = None,
        norm_name: str | None = None,
        norm: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        conv = Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2 if padding is None else padding,
            groups=groups,
            weight_attr=weight_attr(name, initializer=weight_init, learning_rate=lr_mult),
            bias_attr=False,
            data_format=data_format,
        )
        self.add_sublayer(self.conv_key, conv)
        options = {"data_layout": data_format, "lr_mult": lr_mult, **(norm or {})}
        normalization = batch_norm(out_channels, norm_name, **options)
        self.add_sublayer(self.norm_key, normalization)
        self.act = activation(act)

    @property
    def parts(self) -> tuple[nn.Layer, nn.Layer, nn.Layer]:
        """Convolution, norm and activation."""
        return self._sub_layers[self.conv_key], self._sub_layers[self.norm_key], self._sub_layers["act"]

    def forward(self, x, residual=None):
        """Return act(norm(conv(x)) + residual); `residual` has the shape of the output or is None."""
        return conv_norm_act(*self.parts, x, residual)


class KaimingConvBNLayer(ConvBNLayer):
    """`ConvBNLayer` with a Kaiming-normal kernel and no weight decay of the norm, as in PaddleClas's own networks.

    Args:
        in_channels, out_channels, kernel_size: as for `ConvBNLayer`.
        norm_layer: `BatchNorm2D` or `BatchNorm`, which differ in the generated parameter names.
        options: further arguments of `ConvBNLayer`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        norm_layer: type[BatchNorm] = BatchNorm2D,
        **options,
    ) -> None:
        init, norm = nn.initializer.KaimingNormal(), {"layer": norm_layer, "decay": False}
        super().__init__(in_channels, out_channels, kernel_size, weight_init=init, norm=norm, **options)


class NamedConvBNLayer(ConvBNLayer):
    """`ConvBNLayer` with sublayers `_conv` and `_batch_norm` and explicit parameter names.

    Args:
        in_channels, out_channels, kernel_size: as for `ConvBNLayer`.
        name: the kernel is named `NAME_weights`.
        norm_name: common prefix of the batch norm's four parameter names; `NAME_bn` by default.
        options: further arguments of `ConvBNLayer`.
    """

    conv_key, norm_key = "_conv", "_batch_norm"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        name: str,
        norm_name: str | None = None,
        **options,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, name=name, norm_name=norm_name or f"{name}_bn", **options
        )


class BiasedConvBNLayer(ConvBNLayer):
    """`ConvBNLayer` whose convolution has a bias, `NAME_offset`, although the batch norm cancels it.

    Networks that were ported from PyTorch code with PyTorch's default `bias=True` have this bias, and their published
    parameter counts include it.

    Args:
        in_channels, out_channels, kernel_size: as for `ConvBNLayer`.
        name: kernel and bias are named `NAME_weights` and `NAME_offset`; by default, generated names.
        options: further arguments of `ConvBNLayer`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, name: str | None = None, **options
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, name=name, **options)
        self.conv.bias = self.conv.create_parameter([out_channels], attr=bias_attr(name), is_bias=True)


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
    """Build a convolution with PaddleClas's parameter names and the padding of `ConvBNLayer`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as for `ConvBNLayer`.
        bias: whether the convolution has a bias.
        name: the parameters are named `NAME_weights` and `NAME_offset`; by default, generated names.
        initializer: initializer of kernel and bias; by default PaddlePaddle's (normal by fan-in, zero).
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
