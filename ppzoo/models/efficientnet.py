"""EfficientNet: inverted residuals with squeeze-and-excitation; width, depth and image size are scaled together.

Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv:1905.11946,
table 1 (B0) and section 3.3 (compound scaling; the factors of B1 to B7 are those of the authors' code).
B0 to B7 follow PaddleClas, whose weight files have keys such as `_conv._conv`: one `_conv` per nested layer.
`EfficientNetB0_small` is PaddleClas's B0 without squeeze-and-excitation. `EfficientNet_lite0` is the smallest network
of EfficientNet-Lite (github.com/tensorflow/tpu, models/official/efficientnet/lite): B0 without squeeze-and-excitation,
with ReLU6 instead of swish, unscaled stem and head, and TensorFlow's "SAME" padding for the size of the input.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from paddle import nn

from ppzoo import layers
from ppzoo.errors import ConfigError
from ppzoo.layers import (
    AdaptiveAvgPool2D,
    Classifier,
    Padding,
    StochasticDepth,
    linear,
    make_divisible,
    same_padding,
    use_twice,
)
from ppzoo.models.catalog import Weights, register_variant

# Expansion t, output channels c, repeats n, stride s of the first repeat, kernel size k: table 1 of the paper.
STAGES = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]


class Scaling(NamedTuple):
    """Factors on channels and repeats, native image size in pixels, rate of the dropout before the last layer."""

    width: float
    depth: float
    image_size: int
    dropout: float


class ConvBNLayer(layers.ConvBNLayer):
    """Convolution, batch norm with momentum 0.99 and epsilon 1e-3, activation."""

    conv_key, norm_key = "_conv._conv", "_bn"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, name: str, norm_name: str, **options
    ) -> None:
        norm = {"momentum": 0.99, "epsilon": 1e-3}
        super().__init__(in_channels, out_channels, kernel_size, name=name, norm_name=norm_name, norm=norm, **options)


class ConvNorm(ConvBNLayer):
    """`ConvBNLayer` whose keys in checkpoints begin with another `_conv.`."""

    conv_key, norm_key = "_conv._conv._conv", "_conv._bn"


class SEBlock(layers.ConvSqueezeExcite):
    """Squeeze-and-excitation with swish and a sigmoid gate."""

    reduce_key, expand_key = "_conv1._conv", "_conv2._conv"

    def __init__(self, channels: int, squeezed: int, *, name: str) -> None:
        super().__init__(channels, squeezed, act=nn.Swish(), gate=nn.Sigmoid(), name=f"{name}_se")


class MbConvBlock(nn.Layer):
    """1x1 expansion, depthwise convolution, squeeze-and-excitation, linear 1x1 projection; a shortcut if shapes match.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.

    Args:
        padding: padding of the depthwise convolution, as for `Conv2D`.
        drop_rate: probability that an image skips the branch in training (`StochasticDepth`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        expansion: int,
        stride: int,
        padding: list[int] | int | str,
        use_se: bool,
        act: str,
        drop_rate: float,
        name: str,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.shortcut = stride == 1 and in_channels == out_channels
        self._ecn = (
            ConvNorm(in_channels, hidden, 1, act=act, name=f"{name}_expand_conv", norm_name=f"{name}_bn0")
            if expansion != 1
            else None
        )
        self._dcn = ConvNorm(
            hidden,
            hidden,
            kernel_size,
            stride=stride,
            padding=padding,
            groups=hidden,
            act=act,
            name=f"{name}_depthwise_conv",
            norm_name=f"{name}_bn1",
        )
        self._se = SEBlock(hidden, in_channels // 4, name=name) if use_se else None
        self._pcn = ConvNorm(hidden, out_channels, 1, act=None, name=f"{name}_project_conv", norm_name=f"{name}_bn2")
        self.add_branch = StochasticDepth(drop_rate)

    def forward(self, x):
        x, shortcut = use_twice(x) if self.shortcut else (x, None)
        if self._ecn is None:
            y = self._dcn(x)
            y = self._pcn(y if self._se is None else self._se(y))
        else:
            y = layers.inverted_residual(self._ecn, self._dcn, self._pcn, x, squeeze_excite=self._se)
        return y if shortcut is None else self.add_branch(shortcut, y)


class ExtractFeatures(nn.Sequential):
    """The stem and all blocks.

    Shape: N x 3 x H x W to N x `channels` x H/32 x W/32.
    """

    def __init__(self, scaling: Scaling, *, padding: Padding, use_se: bool, act: str, drop_connect_rate: float) -> None:
        super().__init__()
        self.last_at_stride: dict[int, str] = {}
        self.channels = make_divisible(32 * scaling.width)
        stem_padding = same_padding(padding, scaling.image_size, 3, 2)
        self._conv_stem = ConvNorm(
            3, self.channels, 3, stride=2, padding=stem_padding, act=act, name="_conv_stem", norm_name="_bn0"
        )
        size, total_stride = math.ceil(scaling.image_size / 2), 2

        depths = [math.ceil(scaling.depth * repeats) for _, _, repeats, _, _ in STAGES]
        for depth, (expansion, width, _, stage_stride, kernel_size) in zip(depths, STAGES, strict=True):
            for repeat in range(depth):
                number = len(self) - 1
                stride = stage_stride if repeat == 0 else 1
                out_channels = make_divisible(width * scaling.width)
                block = MbConvBlock(
                    self.channels,
                    out_channels,
                    kernel_size,
                    expansion=expansion,
                    stride=stride,
                    padding=same_padding(padding, size, kernel_size, stride),
                    use_se=use_se,
                    act=act,
                    drop_rate=drop_connect_rate * number / sum(depths),
                    name=f"_blocks.{number}.",
                )
                key = f"_blocks.{number}." if repeat == 0 else f"block.{number}."
                self.add_sublayer(key, block)
                self.channels, size, total_stride = out_channels, math.ceil(size / stride), total_stride * stride
                self.last_at_stride[total_stride] = key


class EfficientNet(Classifier):
    """EfficientNet.

    Args:
        class_num: number of classes.
        scaling: the compound scaling of B0 to B7.
        padding: see `layers.same_padding`.
        use_se: whether the blocks have squeeze-and-excitation.
        act: name of the activation.
        dropout_rate: rate of the dropout before the last layer; by default the variant's.
        drop_connect_rate: upper end of the blocks' `drop_rate` (see `MbConvBlock`), which grows linearly from 0.

    Raises:
        ConfigError: a rate is outside [0, 1).

    Shape: N x 3 x H x W to N x class_num.
    """

    head_layers = ("_fc",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        scaling: Scaling,
        padding: Padding = "native",
        use_se: bool = True,
        act: str = "swish",
        dropout_rate: float | None = None,
        drop_connect_rate: float = 0.2,
    ) -> None:
        super().__init__()
        dropout_rate = scaling.dropout if dropout_rate is None else dropout_rate
        for option, rate in {"dropout_rate": dropout_rate, "drop_connect_rate": drop_connect_rate}.items():
            if not 0 <= rate < 1:
                raise ConfigError(f"{option}: expected at least 0 and below 1, got {rate}; 0 disables it")
        self._ef = ExtractFeatures(
            scaling, padding=padding, use_se=use_se, act=act, drop_connect_rate=drop_connect_rate
        )
        self.feature_layers = {s: f"_ef.{name}" for s, name in self._ef.last_at_stride.items() if s >= 4}
        width = make_divisible(1280 * scaling.width)
        self._conv = ConvBNLayer(self._ef.channels, width, 1, act=act, name="_conv_head", norm_name="_bn1")
        self._pool = AdaptiveAvgPool2D(1)
        self._drop = nn.Dropout(dropout_rate)
        self._fc = linear(width, class_num, "_fc")

    def forward_features(self, x):
        return self._conv(self._ef(x))

    def forward_head(self, features):
        return self._fc(self._drop(self._pool(features).flatten(1)))


B0 = Scaling(1.0, 1.0, 224, 0.2)
# Scaling; shorter side before the center crop; published top-1, top-5, 10^9 multiply-adds, 10^6 parameters.
VARIANTS = {
    "EfficientNetB0": (B0, 256, (0.7738, 0.9331, 0.4, 5.33)),
    "EfficientNetB1": (Scaling(1.0, 1.1, 240, 0.2), 272, (0.7915, 0.9441, 0.71, 7.86)),
    "EfficientNetB2": (Scaling(1.1, 1.2, 260, 0.3), 292, (0.7985, 0.9474, 1.02, 9.18)),
    "EfficientNetB3": (Scaling(1.2, 1.4, 300, 0.3), 332, (0.8115, 0.9541, 1.88, 12.324)),
    "EfficientNetB4": (Scaling(1.4, 1.8, 380, 0.4), 412, (0.8285, 0.9623, 4.51, 19.47)),
    "EfficientNetB5": (Scaling(1.6, 2.2, 456, 0.4), 488, (0.8362, 0.9672, 10.51, 30.56)),
    "EfficientNetB6": (Scaling(1.8, 2.6, 528, 0.5), 560, (0.84, 0.9688, 19.47, 43.27)),
    "EfficientNetB7": (Scaling(2.0, 3.1, 600, 0.5), 632, (0.843, 0.9689, 38.45, 66.66)),
}
for _name, (_scaling, _short, _published) in VARIANTS.items():
    register_variant(
        _name,
        EfficientNet,
        image_shape=(3, _scaling.image_size, _scaling.image_size),
        scaling=_scaling,
        padding="native",
        use_se=True,
        act="swish",
        weights=Weights(f"{_name}_pretrained.pdparams", *_published, _scaling.image_size, {"resize_short": _short}),
    )
register_variant(
    "EfficientNetB0_small",
    EfficientNet,
    scaling=B0,
    padding="symmetric",
    use_se=False,
    act="swish",
    weights=Weights("EfficientNetB0_small_pretrained.pdparams", top1=0.758, top5=0.9258, flops=0.4, params=4.69),
)
register_variant("EfficientNet_lite0", EfficientNet, scaling=B0, padding="input", use_se=False, act="relu6")
