"""StarNet: two linear maps of the same input, multiplied element by element.

Ma, Dai, Bai, Wang, Fu: "Rewrite the Stars", CVPR 2024, arXiv:2403.19967, section 4 (the network). All convolutions have
biases, those before a batch norm, too.
"""

from __future__ import annotations

import numpy as np
from paddle import nn

from ppzoo.layers import AdaptiveAvgPool2D, BatchNorm2D, Classifier, Conv2D, Linear, StochasticDepth, dropout
from ppzoo.models.catalog import Weights, register_variant

STEM = 32
MLP_RATIO = 4


class ConvBN(nn.Sequential):
    """Convolution with bias, and batch norm unless `with_bn` is False."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        with_bn: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2
        conv = Conv2D(in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups)
        self.add_sublayer("conv", conv)
        if with_bn:
            self.add_sublayer("bn", BatchNorm2D(out_channels))


class Block(nn.Layer):
    """Depthwise 7x7 convolution, the star operation ReLU6(f1) * f2, projection, depthwise 7x7 convolution, shortcut.

    Shape: N x channels x H x W to the same.
    """

    def __init__(self, channels: int, drop_path_rate: float) -> None:
        super().__init__()
        hidden = MLP_RATIO * channels
        self.dwconv = ConvBN(channels, channels, 7, groups=channels)
        self.f1 = ConvBN(channels, hidden, with_bn=False)
        self.f2 = ConvBN(channels, hidden, with_bn=False)
        self.g = ConvBN(hidden, channels)
        self.dwconv2 = ConvBN(channels, channels, 7, groups=channels, with_bn=False)
        self.act = nn.ReLU6()
        self.add_branch = StochasticDepth(drop_path_rate)

    def forward(self, x):
        y = self.dwconv(x)
        y = self.dwconv2(self.g(self.act(self.f1(y)) * self.f2(y)))
        return self.add_branch(x, y)


class StarNet(Classifier):
    """StarNet.

    Args:
        class_num: number of classes.
        base_dim: channels of the first stage; each stage doubles them.
        depths: number of blocks of each stage.
        drop_rate: rate of the dropout before the linear layer.
        drop_path_rate: rate of stochastic depth of the last block; it grows linearly from 0 in the first.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("head",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        base_dim: int,
        depths: list[int],
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        rates = iter(np.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.stem = nn.Sequential(ConvBN(3, STEM, 3, stride=2), nn.ReLU6())
        self.stages, channels = nn.LayerList(), STEM
        for index, depth in enumerate(depths):
            out_channels = base_dim * 2**index
            downsample = ConvBN(channels, out_channels, 3, stride=2)
            self.stages.append(nn.Sequential(downsample, *[Block(out_channels, next(rates)) for _ in range(depth)]))
            self.feature_layers[4 * 2**index] = f"stages.{index}"
            channels = out_channels
        self.norm = BatchNorm2D(channels)
        self.avgpool = AdaptiveAvgPool2D(1)
        self.dropout = dropout(drop_rate)
        self.head = Linear(channels, class_num)

    def forward_features(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.norm(x)

    def forward_head(self, features):
        return self.head(self.dropout(self.avgpool(features).flatten(1)))


RESIZE = {"resize_short": 256, "interpolation": "bicubic", "backend": "pil"}
# Width and depths; published top-1 and top-5.
VARIANTS = {
    "StarNet_S1": (24, [2, 2, 8, 3], (0.736, 0.918)),
    "StarNet_S2": (32, [1, 2, 6, 2], (0.748, 0.923)),
    "StarNet_S3": (32, [2, 2, 8, 4], (0.77, 0.94)),
    "StarNet_S4": (32, [3, 3, 12, 5], (0.79, 0.949)),
}
for _name, (_base_dim, _depths, _published) in VARIANTS.items():
    register_variant(
        _name,
        StarNet,
        base_dim=_base_dim,
        depths=_depths,
        weights=Weights(f"{_name}_pretrained.pdparams", *_published, resize=RESIZE),
    )
