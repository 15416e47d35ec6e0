"""MobileNetV3: inverted residuals found by architecture search, with squeeze-and-excitation and hard swish.

Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam: "Searching for MobileNetV3", ICCV 2019,
arXiv:1905.02244, tables 1 (large) and 2 (small), sections 5.2 (hard swish) and 5.3 (squeeze-and-excitation).
As the official weights require, three details are PaddleClas's: the gate's hard sigmoid has slope 0.2 (the paper's
ReLU6(x + 3) / 6 has 1/6), the first bottleneck has an expansion convolution to the same width, and the last hidden
layer has 1280 channels at every scale and in both networks.
"""

from __future__ import annotations

from typing import NamedTuple

from paddle import ParamAttr, nn
from paddle.regularizer import L2Decay

from ppzoo import layers
from ppzoo.layers import AdaptiveAvgPool2D, Classifier, Conv2D, Linear, downscaled_dropout, make_divisible
from ppzoo.models.catalog import Weights, register_variant


class Block(NamedTuple):
    """One row of table 1 or 2: kernel, expanded and output channels, squeeze-and-excitation, activation, stride."""

    kernel_size: int
    expanded: int
    out: int
    squeeze_excite: bool
    act: str
    stride: int


LARGE = [
    Block(3, 16, 16, False, "relu", 1),
    Block(3, 64, 24, False, "relu", 2),
    Block(3, 72, 24, False, "relu", 1),
    Block(5, 72, 40, True, "relu", 2),
    Block(5, 120, 40, True, "relu", 1),
    Block(5, 120, 40, True, "relu", 1),
    Block(3, 240, 80, False, "hardswish", 2),
    Block(3, 200, 80, False, "hardswish", 1),
    Block(3, 184, 80, False, "hardswish", 1),
    Block(3, 184, 80, False, "hardswish", 1),
    Block(3, 480, 112, True, "hardswish", 1),
    Block(3, 672, 112, True, "hardswish", 1),
    Block(5, 672, 160, True, "hardswish", 2),
    Block(5, 960, 160, True, "hardswish", 1),
    Block(5, 960, 160, True, "hardswish", 1),
]
SMALL = [
    Block(3, 16, 16, True, "relu", 2),
    Block(3, 72, 24, False, "relu", 2),
    Block(3, 88, 24, False, "relu", 1),
    Block(5, 96, 40, True, "hardswish", 2),
    Block(5, 240, 40, True, "hardswish", 1),
    Block(5, 240, 40, True, "hardswish", 1),
    Block(5, 120, 48, True, "hardswish", 1),
    Block(5, 144, 48, True, "hardswish", 1),
    Block(5, 288, 96, True, "hardswish", 2),
    Block(5, 576, 96, True, "hardswish", 1),
    Block(5, 576, 96, True, "hardswish", 1),
]


class ConvBNLayer(layers.ConvBNLayer):
    """Convolution, batch norm whose scale and offset have no weight decay, activation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, act: str | None = "hardswish", **options
    ) -> None:
        no_decay = {key: ParamAttr(regularizer=L2Decay(0.0)) for key in ("param_attr", "bias_attr")}
        super().__init__(in_channels, out_channels, kernel_size, act=act, norm=no_decay, **options)


class ResidualUnit(nn.Layer):
    """1x1 expansion, depthwise convolution, squeeze-and-excitation, linear 1x1 projection; a shortcut if shapes match.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, row: Block) -> None:
        super().__init__()
        self.shortcut = row.stride == 1 and in_channels == out_channels
        self.expand_conv = ConvBNLayer(in_channels, hidden, 1, act=row.act)
        self.bottleneck_conv = ConvBNLayer(
            hidden, hidden, row.kernel_size, stride=row.stride, groups=hidden, act=row.act
        )
        self.mid_se = (
            layers.ConvSqueezeExcite(hidden, hidden // 4, act=nn.ReLU(), gate=layers.HardSigmoid(0.2, 0.5))
            if row.squeeze_excite
            else None
        )
        self.linear_conv = ConvBNLayer(hidden, out_channels, 1, act=None)

    def forward(self, x):
        convolutions = self.expand_conv, self.bottleneck_conv, self.linear_conv
        return layers.inverted_residual(*convolutions, x, shortcut=self.shortcut, squeeze_excite=self.mid_se)


class MobileNetV3(Classifier):
    """MobileNetV3.

    Args:
        class_num: number of classes.
        table: the rows of table 1 or 2.
        scale: width multiplier of all layers but `last_conv`; scaled channel counts are rounded to multiples of 8.
        class_expand: channels of the last hidden layer.
        dropout_prob: rate of the dropout after that layer, null for none (see `layers.downscaled_dropout`).

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("fc",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        table: list[Block],
        scale: float = 1.0,
        class_expand: int = 1280,
        dropout_prob: float | None = 0.2,
    ) -> None:
        super().__init__()
        channels, total_stride = make_divisible(16 * scale), 2
        self.conv = ConvBNLayer(3, channels, 3, stride=2)

        self.blocks = nn.Sequential()
        for number, row in enumerate(table):
            hidden, out_channels = make_divisible(row.expanded * scale), make_divisible(row.out * scale)
            self.blocks.add_sublayer(str(number), ResidualUnit(channels, hidden, out_channels, row))
            channels, total_stride = out_channels, total_stride * row.stride
            if total_stride >= 4:
                self.feature_layers[total_stride] = f"blocks.{number}"

        last = make_divisible(table[-1].expanded * scale)
        self.last_second_conv = ConvBNLayer(channels, last, 1)
        self.avg_pool = AdaptiveAvgPool2D(1)
        self.last_conv = Conv2D(last, class_expand, 1, bias_attr=False)
        self.hardswish = nn.Hardswish()
        self.dropout = downscaled_dropout(dropout_prob or 0.0)
        self.fc = Linear(class_expand, class_num)

    def forward_features(self, x):
        return self.last_second_conv(self.blocks(self.conv(x)))

    def forward_head(self, features):
        x = self.hardswish(self.last_conv(self.avg_pool(features)))
        return self.fc(self.dropout(x).flatten(1))


# Table and scale; published top-1, top-5, 10^9 multiply-adds, 10^6 parameters; top-1 and top-5 with SSLD.
VARIANTS = {
    "MobileNetV3_small_x0_35": (SMALL, 0.35, (0.5303, 0.7637, 0.01456, 1.67), (0.5555, 0.7771)),
    "MobileNetV3_small_x0_5": (SMALL, 0.5, (0.5921, 0.8152, 0.0226, 1.91), None),
    "MobileNetV3_small_x0_75": (SMALL, 0.75, (0.6602, 0.8633, 0.04602, 2.38), None),
    "MobileNetV3_small_x1_0": (SMALL, 1.0, (0.6824, 0.8806, 0.06367, 2.95), (0.7129, 0.901)),
    "MobileNetV3_small_x1_25": (SMALL, 1.25, (0.7067, 0.8951, 0.10007, 3.64), None),
    "MobileNetV3_large_x0_35": (LARGE, 0.35, (0.6432, 0.8546, 0.0409, 2.11), None),
    "MobileNetV3_large_x0_5": (LARGE, 0.5, (0.6924, 0.8852, 0.07183, 2.69), None),
    "MobileNetV3_large_x0_75": (LARGE, 0.75, (0.7314, 0.9108, 0.1517, 3.93), None),
    "MobileNetV3_large_x1_0": (LARGE, 1.0, (0.7532, 0.9231, 0.22966, 5.5), (0.7896, 0.9448)),
    "MobileNetV3_large_x1_25": (LARGE, 1.25, (0.7641, 0.9295, 0.3627, 7.47), None),
}
for _name, (_table, _scale, _published, _ssld) in VARIANTS.items():
    _file = f"legendary_models/{_name}"
    register_variant(
        _name,
        MobileNetV3,
        table=_table,
        scale=_scale,
        weights=Weights(f"{_file}_pretrained.pdparams", *_published),
        ssld=Weights(f"{_file}_ssld_pretrained.pdparams", *_ssld, *_published[2:]) if _ssld else None,
    )
