"""Convolution, batch norm, activation: the block of which nearly every network of the zoo is made.

PaddleClas spells its two sublayers in two ways, and checkpoints are keyed by the spelling: `conv` and `bn` with
generated parameter names (ResNet, MobileNetV1, MobileNetV3), `_conv` and `_batch_norm` with explicit ones
(MobileNetV2, ShuffleNetV2, the SE networks, ...).
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers.activations import activation
from ppzoo.layers.native_layers import Conv2D, conv_norm_act
from ppzoo.layers.param_names import batch_norm, weight_attr


class ConvBNLayer(nn.Layer):
    """Convolution without bias, batch norm and activation; sublayers `conv` and `bn`, generated parameter names.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square filter, in pixels.
        stride: step of the filter, in pixels.
        padding: zeros on each side; by default as many as keep the size at stride 1.
        groups: groups of the convolution; `in_channels` makes it depthwise.
        act: name of the activation after the norm, or None.
        data_format: layout of the input and the output, "NCHW" or "NHWC".
        weight_init: initializer of the filter; PaddlePaddle's own (normal, by fan-in) by default.
        norm: further options of `paddle.nn.BatchNorm` (momentum, epsilon, param_attr, bias_attr).

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
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        act: str | None = "relu",
        data_format: str = "NCHW",
        weight_init: nn.initializer.Initializer | None = None,
        name: str | None = None,
        norm_name: str | None = None,
        norm: dict | None = None,
    ) -> None:
        super().__init__()
        convolution = Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2 if padding is None else padding,
            groups=groups,
            weight_attr=weight_attr(name, initializer=weight_init),
            bias_attr=False,
            data_format=data_format,
        )
        self.add_sublayer(self.conv_key, convolution)
        normalization = batch_norm(out_channels, norm_name, data_layout=data_format, **(norm or {}))
        self.add_sublayer(self.norm_key, normalization)
        self.act = activation(act)

    @property
    def parts(self) -> tuple[nn.Layer, nn.Layer, nn.Layer]:
        """Convolution, norm and activation."""
        return self._sub_layers[self.conv_key], self._sub_layers[self.norm_key], self._sub_layers["act"]

    def forward(self, x, residual=None):
        """act(norm(conv(x)) + residual), the residual a tensor of the output's shape or None."""
        return conv_norm_act(*self.parts, x, residual)


class NamedConvBNLayer(ConvBNLayer):
    """The same block with sublayers `_conv` and `_batch_norm` and explicit parameter names.

    Args:
        name: the filter is called `NAME_weights`.
        norm_name: common part of the batch norm's four names; `NAME_bn` by default.
        options: those of `ConvBNLayer`.
    """

    conv_key, norm_key = "_conv", "_batch_norm"

    def __init__(self, *sizes: int, name: str, norm_name: str | None = None, **options) -> None:
        super().__init__(*sizes, name=name, norm_name=norm_name or f"{name}_bn", **options)
