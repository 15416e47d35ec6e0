"""GhostNet: half of the channels of each layer are computed from the other half by cheap depthwise convolutions.

Han, Wang, Tian, Guo, Xu, Xu: "GhostNet: More Features from Cheap Operations", CVPR 2020, arXiv:1911.11907, table 1,
section 3.1 (Ghost module) and figure 3 (bottleneck). As the official weights require, two details are PaddleClas's: the
shortcut of a block that changes the shape has a depthwise convolution of the block's kernel size, and the gate of
squeeze-and-excitation is clipped to [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    Classifier,
    NamedConvBNLayer,
    SELayer,
    add,
    clip_gate,
    concat,
    dropout,
    make_divisible,
    uniform_linear,
)
from ppzoo.models.catalog import Weights, register_variant


class Row(NamedTuple):
    """One row of table 1: kernel size, expanded channels, output channels, squeeze-and-excitation, stride."""

    kernel_size: int
    expanded: int
    out: int
    squeeze_excite: bool
    stride: int


STEM = 16
ROWS = [
    Row(3, 16, 16, False, 1),
    Row(3, 48, 24, False, 2),
    Row(3, 72, 24, False, 1),
    Row(5, 72, 40, True, 2),
    Row(5, 120, 40, True, 1),
    Row(3, 240, 80, False, 2),
    Row(3, 200, 80, False, 1),
    Row(3, 184, 80, False, 1),
    Row(3, 184, 80, False, 1),
    Row(3, 480, 112, True, 1),
    Row(3, 672, 112, True, 1),
    Row(5, 672, 160, True, 2),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True, 1),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True, 1),
]
LAST = 1280


class ConvBNLayer(NamedConvBNLayer):
    """Convolution, batch norm whose scale and offset have no weight decay, activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options) -> None:
        init = nn.initializer.KaimingNormal()
        super().__init__(in_channels, out_channels, kernel_size, weight_init=init, norm={"decay": False}, **options)


class GhostModule(nn.Layer):
    """A 1x1 convolution to half of the channels, and a depthwise 3x3 convolution of its output for the other half."""

    def __init__(self, in_channels: int, out_channels: int, *, act: str | None, name: str) -> None:
        super().__init__()
        half = -(-out_channels // 2)
        self.primary_conv = ConvBNLayer(in_channels, half, 1, act=act, name=f"{name}_primary_conv")
        self.cheap_operation = ConvBNLayer(half, half, 3, groups=half, act=act, name=f"{name}_cheap_operation")

    def forward(self, x):
        x = self.primary_conv(x)
        return concat([x, self.cheap_operation(x)])


class GhostBottleneck(nn.Layer):
    """Ghost module (expansion), depthwise convolution (stride 2 only), squeeze-and-excitation, linear Ghost module.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, row: Row, *, name: str) -> None:
        super().__init__()
        size, stride = row.kernel_size, row.stride
        self.ghost_module_1 = GhostModule(in_channels, hidden, act="relu", name=f"{name}_ghost_module_1")
        # PaddleClas repeats "_depthwise" in these parameter names, probably by mistake; its weights need these names.
        self.depthwise_conv = (
            ConvBNLayer(
                hidden, hidden, size, stride=stride, groups=hidden, act=None, name=f"{name}_depthwise_depthwise"
            )
            if stride == 2
            else None
        )
        self.se_block = (
            SELayer(hidden, 4, gate=clip_gate, name=f"{name}_se", suffixes=("_1", "_2")) if row.squeeze_excite else None
        )
        self.ghost_module_2 = GhostModule(hidden, out_channels, act=None, name=f"{name}_ghost_module_2")
        self.identity = stride == 1 and in_channels == out_channels
        if not self.identity:
            self.shortcut_depthwise = ConvBNLayer(
                in_channels,
                in_channels,
                size,
                stride=stride,
                groups=in_channels,
                act=None,
                name=f"{name}_shortcut_depthwise_depthwise",
            )
            self.shortcut_conv = ConvBNLayer(in_channels, out_channels, 1, act=None, name=f"{name}_shortcut_conv")

    def forward(self, x):
        y = self.ghost_module_1(x)
        y = y if self.depthwise_conv is None else self.depthwise_conv(y)
        y = self.ghost_module_2(y if self.se_block is None else self.se_block(y))
        return add(y, x) if self.identity else self.shortcut_conv(self.shortcut_depthwise(x), y)


class GhostNet(Classifier):
    """GhostNet.

    Args:
        class_num: number of classes.
        scale: width multiplier of all layers but the last hidden one; scaled channel counts are rounded to multiples
            of 4.
        dropout_prob: rate of the dropout before the linear layer.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("fc_1",)

    def __init__(self, class_num: int = 1000, *, scale: float = 1.0, dropout_prob: float = 0.2) -> None:
        super().__init__()
        channels, total_stride = make_divisible(STEM * scale, 4), 2
        self.conv1 = ConvBNLayer(3, channels, 3, stride=2, name="conv1")
        self.ghost_bottleneck_list = []
        for number, row in enumerate(ROWS):
            hidden, out_channels = make_divisible(row.expanded * scale, 4), make_divisible(row.out * scale, 4)
            name = f"_ghostbottleneck_{number}"
            block = self.add_sublayer(name, GhostBottleneck(channels, hidden, out_channels, row, name=name))
            self.ghost_bottleneck_list.append(block)
            channels, total_stride = out_channels, total_stride * row.stride
            if total_stride >= 4:
                self.feature_layers[total_stride] = name
        last = make_divisible(ROWS[-1].expanded * scale, 4)
        self.conv_last = ConvBNLayer(channels, last, 1, name="conv_last")
        self.pool2d_gap = AdaptiveAvgPool2D(1)
        self.fc_0 = ConvBNLayer(last, LAST, 1, name="fc_0")
        self.dropout = dropout(dropout_prob)
        self.fc_1 = uniform_linear(LAST, class_num, "fc_1")

    def forward_features(self, x):
        x = self.conv1(x)
        for block in self.ghost_bottleneck_list:
            x = block(x)
        return self.conv_last(x)

    def forward_head(self, features):
        x = self.fc_0(self.pool2d_gap(features))
        return self.fc_1(self.dropout(x).flatten(1))


# Scale; published top-1 and top-5; top-1 with SSLD.
VARIANTS = {
    "GhostNet_x0_5": (0.5, (0.6688, 0.8695), None),
    "GhostNet_x1_0": (1.0, (0.7402, 0.9165), None),
    "GhostNet_x1_3": (1.3, (0.7579, 0.9254), 0.794),
}
for _name, (_scale, _published, _ssld) in VARIANTS.items():
    register_variant(
        _name,
        GhostNet,
        scale=_scale,
        weights=Weights(f"{_name}_pretrained.pdparams", *_published),
        ssld=Weights(f"{_name}_ssld_pretrained.pdparams", _ssld) if _ssld else None,
    )
