"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler, Howard, Zhu, Zhmoginov, Chen: "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
arXiv:1801.04381, table 2. As the official weights require, two details are PaddleClas's: the first bottleneck (t = 1)
has a 1x1 convolution to the same width, where the paper has no expansion, and scaled channel counts are truncated
instead of rounded to multiples of 8.
"""

from __future__ import annotations

from functools import partial

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    Classifier,
    DataFormat,
    InvertedResidual,
    NamedConvBNLayer,
    inverted_residuals,
    linear,
)
from ppzoo.models.catalog import Weights, register_variant

# Expansion t, output channels c, repeats n, stride s of the first repeat: table 2 of the paper.
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


class ConvBNLayer(NamedConvBNLayer):
    """Convolution, batch norm, ReLU6."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, name: str, act: str | None = "relu6", **options
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, name=name, act=act, **options)


class InvertedResidualUnit(InvertedResidual):
    """1x1 expansion, depthwise 3x3 convolution, linear 1x1 projection; with `shortcut`, the input is added.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int,
        stride: int,
        shortcut: bool,
        name: str,
        data_format: DataFormat,
    ) -> None:
        super().__init__()
        conv_bn = partial(ConvBNLayer, data_format=data_format)
        hidden = in_channels * expansion
        self.shortcut = shortcut
        self._expand_conv = conv_bn(in_channels, hidden, 1, name=f"{name}_expand")
        self._bottleneck_conv = conv_bn(hidden, hidden, 3, stride=stride, groups=hidden, name=f"{name}_dwise")
        self._linear_conv = conv_bn(hidden, out_channels, 1, act=None, name=f"{name}_linear")

    @property
    def convolutions(self) -> tuple[ConvBNLayer, ConvBNLayer, ConvBNLayer]:
        return self._expand_conv, self._bottleneck_conv, self._linear_conv


class InvresiBlocks(nn.Sequential):
    """A stage: one unit that changes channels and size, then `repeats - 1` units with a shortcut."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int,
        repeats: int,
        stride: int,
        name: str,
        data_format: DataFormat,
    ) -> None:
        super().__init__()
        for number in range(1, repeats + 1):
            first = number == 1
            unit = InvertedResidualUnit(
                in_channels if first else out_channels,
                out_channels,
                expansion=expansion,
                stride=stride if first else 1,
                shortcut=not first,
                name=f"{name}_{number}",
                data_format=data_format,
            )
            self.add_sublayer("_first_block" if first else f"{name}_{number}", unit)

    def forward(self, x):
        return inverted_residuals(list(self._sub_layers.values()), x)


class MobileNet(Classifier):
    """MobileNetV2.

    Args:
        class_num: number of classes.
        scale: width multiplier; below 1 it does not apply to the last convolution.
        prefix_name: prefix of the names of parameters and stages, to distinguish two networks.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("out",)

    def __init__(
        self, class_num: int = 1000, *, scale: float = 1.0, prefix_name: str = "", data_format: DataFormat = "NCHW"
    ) -> None:
        super().__init__(data_format)
        channels = int(32 * scale)
        self.conv1 = ConvBNLayer(3, channels, 3, stride=2, name=f"{prefix_name}conv1_1", data_format=data_format)

        self.stage_names = [f"{prefix_name}conv{number}" for number in range(2, 2 + len(STAGES))]
        for name, (expansion, width, repeats, stride) in zip(self.stage_names, STAGES, strict=True):
            out_channels = int(width * scale)
            stage = InvresiBlocks(
                channels,
                out_channels,
                expansion=expansion,
                repeats=repeats,
                stride=stride,
                name=name,
                data_format=data_format,
            )
            self.add_sublayer(name, stage)
            channels = out_channels
        self.feature_layers = {stride: self.stage_names[n] for stride, n in {4: 1, 8: 2, 16: 4, 32: 6}.items()}

        self.out_c = int(1280 * max(scale, 1.0))
        self.conv9 = ConvBNLayer(channels, self.out_c, 1, name=f"{prefix_name}conv9", data_format=data_format)
        self.pool2d_avg = AdaptiveAvgPool2D(1, data_format=data_format)
        self.out = linear(self.out_c, class_num, f"{prefix_name}fc10")

    def forward_features(self, x):
        x = self.conv1(x)
        for name in self.stage_names:
            x = self._sub_layers[name](x)
        return self.conv9(x)

    def forward_head(self, features):
        return self.out(self.pool2d_avg(features).flatten(1))


# Scale; published top-1, top-5, 10^9 multiply-adds, 10^6 parameters; top-1 and top-5 with SSLD.
VARIANTS = {
    "MobileNetV2_x0_25": (0.25, (0.5321, 0.7652, 0.03418, 1.53), None),
    "MobileNetV2_x0_5": (0.5, (0.6503, 0.8572, 0.09948, 1.98), None),
    "MobileNetV2_x0_75": (0.75, (0.6983, 0.8901, 0.19737, 2.65), None),
    "MobileNetV2": (1.0, (0.7215, 0.9065, 0.32784, 3.54), (0.7674, 0.9339)),
    "MobileNetV2_x1_5": (1.5, (0.7412, 0.9167, 0.70235, 6.9), None),
    "MobileNetV2_x2_0": (2.0, (0.7523, 0.9258, 1.21725, 11.33), None),
}
for _name, (_scale, _published, _ssld) in VARIANTS.items():
    register_variant(
        _name,
        MobileNet,
        scale=_scale,
        weights=Weights(f"{_name}_pretrained.pdparams", *_published),
        ssld=Weights(f"{_name}_ssld_pretrained.pdparams", *_ssld, *_published[2:]) if _ssld else None,
    )
