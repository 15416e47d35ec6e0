"""SqueezeNet: 1x1 convolutions in place of most 3x3 convolutions, and few input channels for the 3x3 ones.

Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer: "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and
<0.5MB model size", arXiv:1602.07360, table 1. SqueezeNet1_1 is the authors' later release in their repository: a
smaller first kernel and earlier pooling, at the same accuracy. As in PaddleClas, version 1.0's first convolution has no
padding, so that 224 x 224 pixels become 109 x 109, not the paper's 111 x 111; the official weights require this.
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers import AdaptiveAvgPool2D, Classifier, MaxPool2D, concat, conv_relu, convolution, downscaled_dropout
from ppzoo.models.catalog import Weights, register_variant

# Fire modules 2 to 9: channels of the 1x1 squeeze, and of each of the 1x1 and 3x3 expansions. Table 1 of the paper.
FIRES = [
    (16, 64),
    (16, 64),
    (32, 128),
    (32, 128),
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
]
# Version -> channels, kernel size and padding of the first convolution; the fire modules (numbered from 1, like the
# attributes) that are followed by 3x3 max pooling with stride 2.
STEMS = {
    "1.0": (96, 7, 0, (3, 7)),
    "1.1": (64, 3, 1, (2, 4)),
}


class MakeFireConv(nn.Layer):
    """Convolution with bias and ReLU.

    Shape: N x in_channels x H x W to N x out_channels x H x W.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, name: str) -> None:
        super().__init__()
        self._conv = convolution(in_channels, out_channels, kernel_size, name=name)

    def forward(self, x):
        return conv_relu(self._conv, x)


class MakeFire(nn.Layer):
    """Fire module: 1x1 squeeze, then parallel 1x1 and 3x3 expansions (figure 1 of the paper).

    Shape: N x in_channels x H x W to N x 2 expand x H x W.
    """

    def __init__(self, in_channels: int, squeeze: int, expand: int, *, name: str) -> None:
        super().__init__()
        self._conv = MakeFireConv(in_channels, squeeze, 1, name=f"{name}_squeeze1x1")
        self._conv_path1 = MakeFireConv(squeeze, expand, 1, name=f"{name}_expand1x1")
        self._conv_path2 = MakeFireConv(squeeze, expand, 3, name=f"{name}_expand3x3")

    def forward(self, x):
        x = self._conv(x)
        return concat([self._conv_path1(x), self._conv_path2(x)])


class SqueezeNet(Classifier):
    """SqueezeNet.

    Args:
        class_num: number of classes.
        version: "1.0" (the paper's) or "1.1" (2.2 times less computation).
        dropout: rate of the dropout before the last convolution.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("_conv9",)

    def __init__(self, class_num: int = 1000, *, version: str, dropout: float = 0.5) -> None:
        super().__init__()
        channels, kernel_size, padding, self.pool_after = STEMS[version]
        self._conv = convolution(3, channels, kernel_size, stride=2, padding=padding, name="conv1")
        self._pool = MaxPool2D(3, stride=2)

        for number, (squeeze, expand) in enumerate(FIRES, start=1):
            self.add_sublayer(f"_conv{number}", MakeFire(channels, squeeze, expand, name=f"fire{number + 1}"))
            channels = 2 * expand
        last_of_stage = (*self.pool_after, len(FIRES))
        self.feature_layers = {
            stride: f"_conv{number}" for stride, number in zip((4, 8, 16), last_of_stage, strict=True)
        }

        self._drop = downscaled_dropout(dropout)
        self._conv9 = convolution(channels, class_num, 1, name="conv10")
        self._avg_pool = AdaptiveAvgPool2D(1)

    def forward_features(self, x):
        x = self._pool(conv_relu(self._conv, x))
        for number in range(1, len(FIRES) + 1):
            x = self._sub_layers[f"_conv{number}"](x)
            if number in self.pool_after:
                x = self._pool(x)
        return x

    def forward_head(self, features):
        return self._avg_pool(conv_relu(self._conv9, self._drop(features))).flatten(1)


register_variant(
    "SqueezeNet1_0",
    SqueezeNet,
    version="1.0",
    weights=Weights("SqueezeNet1_0_pretrained.pdparams", top1=0.596, top5=0.817, flops=0.78, params=1.25),
)
register_variant(
    "SqueezeNet1_1",
    SqueezeNet,
    version="1.1",
    weights=Weights("SqueezeNet1_1_pretrained.pdparams", top1=0.601, top5=0.819, flops=0.35, params=1.24),
)
