"""AlexNet: five convolutions and three linear layers.

Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
section 3.5, figure 2. As in PaddleClas, whose official weights require it, this is the widespread variant with one
column: the convolutions have 64, 192, 384, 256 and 256 channels. Those of the paper have 96, 256, 384, 384 and 256
channels in two columns that are connected in some layers only; those of the author's own version with one column
(Krizhevsky: "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997) have 64, 192, 384, 384
and 256. Unlike the paper (section 3.3), the network has no local response normalization. Dropout precedes the first two
linear layers, as in section 4.2 of the paper. The initial values are PaddleClas's: uniform within 1 / sqrt(fan-in); all
linear layers use the fan-in of the first one.
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers import (
    Classifier,
    Conv2D,
    Linear,
    MaxPool2D,
    bias_attr,
    conv_relu,
    convolution,
    downscaled_dropout,
    fan_in_uniform,
    relu,
    weight_attr,
)
from ppzoo.models.catalog import Weights, register_variant

# Layer: kernel, stride, shape of its output (and of its pooling's output) for images of 224 x 224 pixels.
#   conv1  11x11 / 4    64 x 55 x 55   pool 3x3 / 2   27 x 27
#   conv2  5x5         192 x 27 x 27   pool 3x3 / 2   13 x 13
#   conv3  3x3         384 x 13 x 13
#   conv4  3x3         256 x 13 x 13
#   conv5  3x3         256 x 13 x 13   pool 3x3 / 2    6 x 6
#   fc6, fc7, fc8      4096, 4096, classes
LAST_MAP = 256 * 6 * 6


def uniform_convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int | None = None, name: str
) -> Conv2D:
    """Build a convolution with kernel and bias initialized uniformly within 1 / sqrt(in_channels kernel_size^2)."""
    initial = fan_in_uniform(in_channels * kernel_size**2)
    return convolution(
        in_channels, out_channels, kernel_size, stride=stride, padding=padding, name=name, initializer=initial
    )


def linear_by_last_map(in_features: int, out_features: int, name: str) -> Linear:
    """Build a linear layer with weight and bias initialized uniformly within 1 / sqrt(LAST_MAP), whatever its size."""
    initial = fan_in_uniform(LAST_MAP)
    return Linear(
        in_features,
        out_features,
        weight_attr=weight_attr(name, initializer=initial),
        bias_attr=bias_attr(name, initializer=initial),
    )


class ConvPoolLayer(nn.Layer):
    """Convolution, ReLU, 3x3 max pooling with stride 2.

    Shape: N x in_channels x H x W to N x out_channels x about H/(2 stride) x W/(2 stride).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        name: str,
    ) -> None:
        super().__init__()
        self._conv = uniform_convolution(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, name=name
        )
        self.relu = nn.ReLU()
        self._pool = MaxPool2D(3, stride=2)

    def forward(self, x):
        return self._pool(self.relu(self._conv(x)))


class AlexNetDY(Classifier):
    """AlexNet.

    Args:
        class_num: number of classes.
        dropout: rate of the two dropouts before the first two linear layers.

    Shape: N x 3 x 224 x 224 to N x class_num.
    """

    head_layers = ("_fc8",)

    def __init__(self, class_num: int = 1000, *, dropout: float = 0.5) -> None:
        super().__init__()
        self._conv1 = ConvPoolLayer(3, 64, 11, stride=4, padding=2, name="conv1")
        self._conv2 = ConvPoolLayer(64, 192, 5, name="conv2")
        self._conv3 = uniform_convolution(192, 384, 3, name="conv3")
        self._conv4 = uniform_convolution(384, 256, 3, name="conv4")
        self._conv5 = ConvPoolLayer(256, 256, 3, name="conv5")
        self.feature_layers = {4: "_conv1.relu", 8: "_conv2.relu", 16: "_conv5.relu", 32: "_conv5"}

        self._drop1 = downscaled_dropout(dropout)
        self._fc6 = linear_by_last_map(LAST_MAP, 4096, "fc6")
        self._drop2 = downscaled_dropout(dropout)
        self._fc7 = linear_by_last_map(4096, 4096, "fc7")
        self._fc8 = linear_by_last_map(4096, class_num, "fc8")

    def forward_features(self, x):
        x = self._conv2(self._conv1(x))
        x = conv_relu(self._conv3, x)
        x = conv_relu(self._conv4, x)
        return self._conv5(x)

    def forward_head(self, features):
        x = relu(self._fc6(self._drop1(features.flatten(1))))
        x = relu(self._fc7(self._drop2(x)))
        return self._fc8(x)


register_variant(
    "AlexNet",
    AlexNetDY,
    weights=Weights("AlexNet_pretrained.pdparams", top1=0.567, top5=0.792, flops=0.71, params=61.1),
)
