"""MobileNetV1: a plain stack of depthwise separable convolutions.

Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam: "MobileNets: Efficient Convolutional Neural Networks
for Mobile Vision Applications", 2017, arXiv:1704.04861, table 1 and section 3.3 (the width multiplier).
In table 1 the last depthwise layer has stride 2, but 7 x 7 pixels before and after it: its stride is 1 here.
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    Classifier,
    ConvBNLayer,
    Linear,
    SeparableBlock,
    SeparableBlocks,
    weight_attr,
)
from ppzoo.models.catalog import Weights, register_variant

# Output channels and stride of each separable convolution: table 1 of the paper.
BLOCKS = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
]


class DepthwiseSeparable(SeparableBlock):
    """Depthwise 3x3 convolution, then 1x1 convolution; batch norm and ReLU after each.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        init = nn.initializer.KaimingNormal()
        self.depthwise_conv = ConvBNLayer(
            in_channels, in_channels, 3, stride=stride, groups=in_channels, weight_init=init
        )
        self.pointwise_conv = ConvBNLayer(in_channels, out_channels, 1, weight_init=init)

    @property
    def layers(self) -> tuple[ConvBNLayer, ConvBNLayer]:
        return self.depthwise_conv, self.pointwise_conv


class MobileNet(Classifier):
    """MobileNetV1.

    Args:
        class_num: number of classes.
        scale: width multiplier (the paper's alpha); scaled channel counts are truncated.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("fc",)

    def __init__(self, class_num: int = 1000, *, scale: float = 1.0) -> None:
        super().__init__()
        init = nn.initializer.KaimingNormal()
        channels, total_stride = int(32 * scale), 2
        self.conv = ConvBNLayer(3, channels, 3, stride=2, weight_init=init)

        self.blocks = SeparableBlocks()
        for number, (width, stride) in enumerate(BLOCKS):
            out_channels = int(width * scale)
            self.blocks.add_sublayer(str(number), DepthwiseSeparable(channels, out_channels, stride=stride))
            channels, total_stride = out_channels, total_stride * stride
            if total_stride >= 4:
                self.feature_layers[total_stride] = f"blocks.{number}"

        self.avg_pool = AdaptiveAvgPool2D(1)
        self.fc = Linear(channels, class_num, weight_attr=weight_attr(None, initializer=init))

    def forward_features(self, x):
        return self.blocks(self.conv(x))

    def forward_head(self, features):
        return self.fc(self.avg_pool(features).flatten(1))


# Scale; published top-1, top-5, 10^9 multiply-adds, 10^6 parameters; top-1 and top-5 with SSLD.
VARIANTS = {
    "MobileNetV1_x0_25": (0.25, (0.5143, 0.7546, 0.04356, 0.48), None),
    "MobileNetV1_x0_5": (0.5, (0.6352, 0.8473, 0.15457, 1.34), None),
    "MobileNetV1_x0_75": (0.75, (0.6881, 0.8823, 0.333, 2.6), None),
    "MobileNetV1": (1.0, (0.7099, 0.8968, 0.57888, 4.25), (0.7789, 0.9394)),
}
for _name, (_scale, _published, _ssld) in VARIANTS.items():
    _file = f"legendary_models/{_name}"
    register_variant(
        _name,
        MobileNet,
        scale=_scale,
        weights=Weights(f"{_file}_pretrained.pdparams", *_published),
        ssld=Weights(f"{_file}_ssld_pretrained.pdparams", *_ssld, *_published[2:]) if _ssld else None,
    )
