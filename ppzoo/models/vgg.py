"""VGG: 3x3 convolutions only, in five blocks.

Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
arXiv:1409.1556, table 1, columns A (11), B (13), D (16) and E (19). As in PaddleClas and its official weights, the
convolutions have no bias; the paper's have one.

The networks for CIFAR's 32 x 32 pixels are the widespread variant of columns D and E: the convolutions have a bias, as
in the paper, and batch norm (Ioffe, Szegedy, ICML 2015, arXiv:1502.03167), and there is one linear layer instead of
three.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    BiasedConvBNLayer,
    Classifier,
    Linear,
    MaxPool2D,
    conv_relu,
    convolution,
    downscaled_dropout,
    relu,
)
from ppzoo.models.catalog import Weights, register_variant

# Number of layers with weights -> convolutions in each of the five blocks: table 1 of the paper.
DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
WIDTHS = (64, 128, 256, 512, 512)


class ConvBlock(nn.Layer):
    """3x3 convolutions `conv1`, `conv2`, ..., each followed by ReLU.

    Args:
        depth: number of convolutions.
        unit: builds a convolution from the numbers of input and output channels and the kernel size.

    Shape: N x in_channels x H x W to N x out_channels x H x W.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int, unit: Callable[..., nn.Layer]) -> None:
        super().__init__()
        for number in range(1, depth + 1):
            self.add_sublayer(f"conv{number}", unit(in_channels, out_channels, 3))
            in_channels = out_channels

    def forward(self, x):
        for unit in self.children():
            x = conv_relu(unit, x)
        return x


class VGGBlocks(Classifier):
    """The five blocks, each followed by 2x2 max pooling; a subclass adds the head.

    Shape of `forward_features`: N x 3 x H x W to N x 512 x H/32 x W/32.
    """

    def __init__(self, layers: int, unit: Callable[..., nn.Layer]) -> None:
        super().__init__()
        in_channels = 3
        for number, (width, depth) in enumerate(zip(WIDTHS, DEPTHS[layers], strict=True), start=1):
            self.add_sublayer(f"conv_block_{number}", ConvBlock(in_channels, width, depth, unit))
            self.add_sublayer(f"max_pool_{number}", MaxPool2D(2))
            in_channels = width
        self.feature_layers = {4: "conv_block_3", 8: "conv_block_4", 16: "conv_block_5", 32: "max_pool_5"}

    def forward_features(self, x):
        for number in range(1, len(WIDTHS) + 1):
            x = self._sub_layers[f"conv_block_{number}"](x)
            x = self._sub_layers[f"max_pool_{number}"](x)
        return x


class VGGNet(VGGBlocks):
    """VGG for ImageNet.

    Args:
        class_num: number of classes.
        layers: number of layers with weights: 11, 13, 16 or 19.
        dropout: rate of the two dropouts between the linear layers.

    Shape: N x 3 x 224 x 224 to N x class_num.
    """

    head_layers = ("fc3",)

    def __init__(self, class_num: int = 1000, *, layers: int, dropout: float = 0.5) -> None:
        super().__init__(layers, unit=partial(convolution, bias=False))
        self.drop = downscaled_dropout(dropout)
        self.fc1 = Linear(512 * 7 * 7, 4096)
        self.fc2 = Linear(4096, 4096)
        self.fc3 = Linear(4096, class_num)

    def forward_head(self, features):
        x = self.drop(relu(self.fc1(features.flatten(1))))
        x = self.drop(relu(self.fc2(x)))
        return self.fc3(x)


class VGGCifar(VGGBlocks):
    """VGG for CIFAR.

    Args:
        class_num: number of classes.
        layers: depth of the ImageNet network with the same convolutions: 11, 13, 16 or 19.

    Shape: N x 3 x 32 x 32 to N x class_num.
    """

    head_layers = ("fc",)

    def __init__(self, class_num: int = 10, *, layers: int) -> None:
        super().__init__(layers, unit=partial(BiasedConvBNLayer, act=None))
        self.pool2d_avg = AdaptiveAvgPool2D(1)
        self.fc = Linear(512, class_num)

    def forward_head(self, features):
        return self.fc(self.pool2d_avg(features).flatten(1))


for layers, top1, top5, flops, params in [
    (11, 0.693, 0.891, 7.61, 132.86),
    (13, 0.700, 0.894, 11.31, 133.05),
    (16, 0.720, 0.907, 15.47, 138.35),
    (19, 0.726, 0.909, 19.63, 143.66),
]:
    register_variant(
        f"VGG{layers}",
        VGGNet,
        layers=layers,
        weights=Weights(f"legendary_models/VGG{layers}_pretrained.pdparams", top1, top5, flops, params),
    )
register_variant("VGG16_cifar", VGGCifar, layers=16, image_shape=(3, 32, 32))
register_variant("VGG19_cifar", VGGCifar, layers=19, image_shape=(3, 32, 32))
