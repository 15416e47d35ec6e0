"""FasterNet: 3x3 convolutions of a quarter of the channels; the other channels pass unchanged.

Chen, Kao, He, Zhuo, Wen, Lee, Chan: "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", CVPR 2023,
arXiv:2303.03667, section 3 (partial convolution, figure 4). As in PaddleClas, the batch norm after the patch embedding
has momentum 0.1 in PaddlePaddle's sense: its running statistics depend almost only on the last batch.
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle import ParamAttr, nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    BatchNorm2D,
    Classifier,
    Conv2D,
    Linear,
    StochasticDepth,
    concat,
    conv_norm_act,
    weight_attr,
)
from ppzoo.models.catalog import Weights, register_variant

PARTIAL_RATIO = 4
MLP_RATIO = 2
LAST = 1280


def normal_attr() -> ParamAttr:
    """Attribute of a weight with normally distributed initial values of standard deviation 0.02.

    The authors' code truncates the distribution at 100 standard deviations, which has no effect.
    """
    return weight_attr(None, initializer=nn.initializer.Normal(std=0.02))


def convolution(in_channels: int, out_channels: int, kernel_size: int, **options) -> Conv2D:
    """Build a convolution without bias."""
    return Conv2D(in_channels, out_channels, kernel_size, weight_attr=normal_attr(), bias_attr=False, **options)


class PartialConv(nn.Layer):
    """A 3x3 convolution of the first quarter of the channels, concatenated with the others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolved = channels // PARTIAL_RATIO
        self.untouched = channels - self.convolved
        self.partial_conv3 = convolution(self.convolved, self.convolved, 3, padding=1)

    def forward(self, x):
        first, others = paddle.split(x, [self.convolved, self.untouched], axis=1)
        return concat([self.partial_conv3(first), others])


class MLPBlock(nn.Layer):
    """Partial convolution, 1x1 expansion with norm and activation, 1x1 projection, shortcut.

    Shape: N x channels x H x W to the same.
    """

    def __init__(self, channels: int, drop_path_rate: float, act: type[nn.Layer]) -> None:
        super().__init__()
        hidden = MLP_RATIO * channels
        self.add_branch = StochasticDepth(drop_path_rate)
        self.mlp = nn.Sequential(
            convolution(channels, hidden, 1), BatchNorm2D(hidden), act(), convolution(hidden, channels, 1)
        )
        self.spatial_mixing = PartialConv(channels)

    def forward(self, x):
        expand, norm, act, project = self.mlp
        y = project(conv_norm_act(expand, norm, act, self.spatial_mixing(x)))
        return self.add_branch(x, y)


class BasicStage(nn.Layer):
    """Blocks with the given rates of stochastic depth."""

    def __init__(self, channels: int, rates: list[float], act: type[nn.Layer]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[MLPBlock(channels, rate, act) for rate in rates])

    def forward(self, x):
        return self.blocks(x)


class PatchEmbed(nn.Layer):
    """A 4x4 convolution of stride 4 with batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = convolution(3, channels, 4, stride=4)
        self.norm = BatchNorm2D(channels, momentum=0.1)

    def forward(self, x):
        return self.norm(self.proj(x))


class PatchMerging(nn.Layer):
    """A 2x2 convolution of stride 2 to twice as many channels, with batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = convolution(channels, 2 * channels, 2, stride=2)
        self.norm = BatchNorm2D(2 * channels)

    def forward(self, x):
        return self.norm(self.reduction(x))


class FasterNet(Classifier):
    """FasterNet.

    Args:
        class_num: number of classes.
        embed_dim: channels of the first stage; each stage doubles them.
        depths: number of blocks of each stage.
        act: class of the activations.
        drop_path_rate: rate of stochastic depth of the last block; it grows linearly from 0 in the first.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("head",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        embed_dim: int,
        depths: list[int],
        act: type[nn.Layer],
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        rates = np.linspace(0, drop_path_rate, sum(depths)).tolist()
        self.patch_embed = PatchEmbed(embed_dim)
        stages, channels = [], embed_dim
        for index, depth in enumerate(depths):
            if index:
                stages.append(PatchMerging(channels))
                channels *= 2
            first = sum(depths[:index])
            stages.append(BasicStage(channels, rates[first : first + depth], act))
            self.feature_layers[4 * 2**index] = f"stages.{2 * index}"
        self.stages = nn.Sequential(*stages)
        self.avgpool_pre_head = nn.Sequential(AdaptiveAvgPool2D(1), convolution(channels, LAST, 1), act())
        self.head = Linear(LAST, class_num, weight_attr=normal_attr())

    def forward_features(self, x):
        return self.stages(self.patch_embed(x))

    def forward_head(self, features):
        return self.head(self.avgpool_pre_head(features).flatten(1))


RESIZE = {"resize_short": 248, "interpolation": "bicubic", "backend": "pil"}
# Width, depths, activation, rate of stochastic depth; published top-1 and top-5.
VARIANTS = {
    "FasterNet_T0": (40, [1, 2, 8, 2], nn.GELU, 0.0, (0.719, 0.909)),
    "FasterNet_T1": (64, [1, 2, 8, 2], nn.GELU, 0.02, (0.759, 0.932)),
    "FasterNet_T2": (96, [1, 2, 8, 2], nn.ReLU, 0.05, (0.791, 0.948)),
    "FasterNet_S": (128, [1, 2, 13, 2], nn.ReLU, 0.1, (0.813, 0.952)),
    "FasterNet_M": (144, [3, 4, 18, 3], nn.ReLU, 0.2, (0.83, 0.956)),
    "FasterNet_L": (192, [3, 4, 18, 3], nn.ReLU, 0.3, (0.835, 0.964)),
}
for _name, (_embed_dim, _depths, _act, _rate, _published) in VARIANTS.items():
    register_variant(
        _name,
        FasterNet,
        embed_dim=_embed_dim,
        depths=_depths,
        act=_act,
        drop_path_rate=_rate,
        weights=Weights(f"{_name}_pretrained.pdparams", *_published, resize=RESIZE),
    )
