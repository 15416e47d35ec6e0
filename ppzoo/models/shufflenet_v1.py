"""ShuffleNetV1: grouped 1x1 convolutions with a channel shuffle between them.

Zhang, Zhou, Lin, Sun: "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", CVPR 2018,
arXiv:1707.01083, table 1 (complexity 1x) and figure 2 (the units). As in the paper, a unit's hidden width is a quarter
of its output's and the very first 1x1 convolution is not grouped. Like widespread implementations, it differs from the
paper in two details: every convolution has a bias, and the stem has ReLU but no batch norm. PaddleClas has no
ShuffleNetV1, and there are no official weights.
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BiasedConvBNLayer,
    Classifier,
    Linear,
    MaxPool2D,
    add,
    channel_shuffle,
    concat,
    convolution,
)
from ppzoo.models.catalog import register_variant

# Groups of the 1x1 convolutions -> output channels of stage 2; each further stage has twice as many: table 1.
WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# Units of stages 2, 3 and 4, the first of each with stride 2.
REPEATS = [4, 8, 4]
STEM_WIDTH = 24


class ConvBNLayer(BiasedConvBNLayer):
    """Convolution with bias and Kaiming initialization, batch norm, activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, act: str | None, **options) -> None:
        init = nn.initializer.KaimingNormal()
        super().__init__(in_channels, out_channels, kernel_size, act=act, weight_init=init, **options)


class ShuffleUnit(nn.Layer):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, and a shortcut: figure 2b, 2c.

    With stride 1 the input is added. With stride 2 the average-pooled input is concatenated, so that the last 1x1 has
    `out_channels - in_channels` output channels.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.

    Args:
        groups: groups of the last 1x1 convolution, and of the shuffle.
        first_groups: groups of the first one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, groups: int, first_groups: int | None = None
    ) -> None:
        super().__init__()
        hidden = out_channels // 4
        projected = out_channels if stride == 1 else out_channels - in_channels
        self.groups = groups
        self.expand = ConvBNLayer(in_channels, hidden, 1, groups=first_groups or groups, act="relu")
        self.depthwise = ConvBNLayer(hidden, hidden, 3, stride=stride, groups=hidden, act=None)
        self.project = ConvBNLayer(hidden, projected, 1, groups=groups, act=None)
        self.pool = None if stride == 1 else AvgPool2D(3, stride=stride, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.project(self.depthwise(channel_shuffle(self.expand(x), self.groups)))
        return self.relu(add(x, y) if self.pool is None else concat([self.pool(x), y]))


class ShuffleNetV1(Classifier):
    """ShuffleNetV1 at complexity 1x.

    Args:
        class_num: number of classes.
        groups: groups of the 1x1 convolutions, a key of `WIDTHS`.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("fc",)

    def __init__(self, class_num: int = 1000, *, groups: int = 3) -> None:
        super().__init__()
        self.conv1 = convolution(3, STEM_WIDTH, 3, stride=2)
        self.relu = nn.ReLU()
        self.max_pool = MaxPool2D(3, stride=2, padding=1)
        self.stage_names = [f"stage{number}" for number in range(2, 2 + len(REPEATS))]
        channels, width = STEM_WIDTH, WIDTHS[groups]
        for name, repeats in zip(self.stage_names, REPEATS, strict=True):
            first = ShuffleUnit(
                channels, width, stride=2, groups=groups, first_groups=1 if channels == STEM_WIDTH else groups
            )
            others = [ShuffleUnit(width, width, stride=1, groups=groups) for _ in range(repeats - 1)]
            self.add_sublayer(name, nn.Sequential(first, *others))
            channels, width = width, 2 * width
        self.feature_layers = dict(zip((4, 8, 16, 32), ["max_pool", *self.stage_names], strict=True))

        self.avg_pool = AdaptiveAvgPool2D(1)
        self.fc = Linear(channels, class_num)

    def forward_features(self, x):
        x = self.max_pool(self.relu(self.conv1(x)))
        for name in self.stage_names:
            x = self._sub_layers[name](x)
        return x

    def forward_head(self, features):
        return self.fc(self.avg_pool(features).flatten(1))


for _groups in WIDTHS:
    register_variant(f"ShuffleNetV1_g{_groups}", ShuffleNetV1, groups=_groups)
