"""ESNet: ShuffleNetV2's units with squeeze-and-excitation and, at stride 2, a depthwise separable convolution.

Yu, Chang, Lv, Xu, Cui, Ji, Dang, Deng, Wang, Du, Lai, Liu, Hu, Yu, Ma: "PP-PicoDet: A Better Real-Time Object Detector
on Mobile Devices", 2021, arXiv:2111.00902, "Enhanced ShuffleNet". In a unit of stride 1, a 1x1 convolution's output is
concatenated with that of a depthwise convolution (the Ghost module of GhostNet).
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers import (
    BatchNorm,
    ConvSqueezeExcite,
    KaimingConvBNLayer,
    MaxPool2D,
    WideHeadClassifier,
    concat,
    halve,
    make_divisible,
    shuffled_concat,
)
from ppzoo.models.catalog import Weights, register_variant

STEM, LAST = 24, 1024
STAGES = [(116, 3), (232, 7), (464, 3)]  # channels and units


class ConvBNLayer(KaimingConvBNLayer):
    """`KaimingConvBNLayer` with hard swish and PaddleClas's parameter names."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, act: str | None = "hardswish", **options
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, act=act, norm_layer=BatchNorm, **options)


def squeeze_excite(channels: int) -> ConvSqueezeExcite:
    return ConvSqueezeExcite(channels, channels // 4, act=nn.ReLU(), gate=nn.Hardsigmoid())


class ESBlock1(nn.Layer):
    """Unit of stride 1: half of the channels pass unchanged.

    Shape: N x channels x H x W to the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.pw_1_1 = ConvBNLayer(half, half, 1)
        self.dw_1 = ConvBNLayer(half, half, 3, groups=half, act=None)
        self.se = squeeze_excite(channels)
        self.pw_1_2 = ConvBNLayer(channels, half, 1)

    def forward(self, x):
        kept, y = halve(x)
        y = self.pw_1_1(y)
        y = self.pw_1_2(self.se(concat([y, self.dw_1(y)])))
        return shuffled_concat([kept, y])


class ESBlock2(nn.Layer):
    """Unit of stride 2: two branches, concatenated and mixed by a depthwise separable convolution.

    Shape: N x in_channels x H x W to N x out_channels x H/2 x W/2.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.dw_1 = ConvBNLayer(in_channels, in_channels, 3, stride=2, groups=in_channels, act=None)
        self.pw_1 = ConvBNLayer(in_channels, half, 1)
        self.pw_2_1 = ConvBNLayer(in_channels, half, 1)
        self.dw_2 = ConvBNLayer(half, half, 3, stride=2, groups=half, act=None)
        self.se = squeeze_excite(half)
        self.pw_2_2 = ConvBNLayer(half, half, 1)
        self.concat_dw = ConvBNLayer(out_channels, out_channels, 3, groups=out_channels)
        self.concat_pw = ConvBNLayer(out_channels, out_channels, 1)

    def forward(self, x):
        first = self.pw_1(self.dw_1(x))
        second = self.pw_2_2(self.se(self.dw_2(self.pw_2_1(x))))
        return self.concat_pw(self.concat_dw(concat([first, second])))


class ESNet(WideHeadClassifier):
    """ESNet.

    Args:
        class_num: number of classes.
        scale: width multiplier of the stages; scaled channel counts are rounded to multiples of 8.
        dropout_prob: rate of the dropout after `last_conv` (see `layers.downscaled_dropout`).
        class_expand: channels of `last_conv`.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(
        self, class_num: int = 1000, *, scale: float = 1.0, dropout_prob: float = 0.2, class_expand: int = 1280
    ) -> None:
        super().__init__()
        self.conv1 = ConvBNLayer(3, STEM, 3, stride=2)
        self.max_pool = MaxPool2D(3, stride=2, padding=1)
        self.feature_layers[4] = "max_pool"
        blocks, channels = [], STEM
        for index, (width, depth) in enumerate(STAGES):
            out_channels = make_divisible(width * scale)
            blocks.append(ESBlock2(channels, out_channels))
            blocks.extend(ESBlock1(out_channels) for _ in range(depth - 1))
            self.feature_layers[8 * 2**index] = f"blocks.{len(blocks) - 1}"
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = ConvBNLayer(channels, LAST, 1)
        self.build_head(
            LAST,
            class_num,
            use_last_conv=True,
            class_expand=class_expand,
            dropout_prob=dropout_prob,
            act="hardswish",
        )

    def forward_features(self, x):
        return self.conv2(self.blocks(self.max_pool(self.conv1(x))))


# Scale; published top-1 and top-5.
VARIANTS = {
    "ESNet_x0_25": (0.25, (0.6248, 0.8346)),
    "ESNet_x0_5": (0.5, (0.6882, 0.8804)),
    "ESNet_x0_75": (0.75, (0.7224, 0.9045)),
    "ESNet_x1_0": (1.0, (0.7392, 0.914)),
}
for _name, (_scale, _published) in VARIANTS.items():
    register_variant(
        _name,
        ESNet,
        scale=_scale,
        weights=Weights(f"legendary_models/{_name}_pretrained.pdparams", *_published),
    )
