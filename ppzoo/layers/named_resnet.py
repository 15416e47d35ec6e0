"""Common structure and parameter names of PaddleClas's older residual networks: ResNet-vc, SE-ResNet-vd, SE-ResNeXt.

Their blocks are attributes `bb_STAGE_INDEX`, their classifier is `out`, and their checkpoints have explicit parameter
names, partly those of the original ResNet in Caffe ("res2a_branch2a").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from string import ascii_lowercase

from paddle import nn

from ppzoo.layers.classifier import Classifier, DataFormat
from ppzoo.layers.conv_bn import NamedConvBNLayer
from ppzoo.layers.native_layers import AdaptiveAvgPool2D, Linear, MaxPool2D


class BranchConvBNLayer(NamedConvBNLayer):
    """`NamedConvBNLayer` whose norm is "bn2a_branch1" for the name "res2a_branch1", and "bnv1_1" for "conv1_1".

    Args:
        in_channels, out_channels, kernel_size, name, options: as for `NamedConvBNLayer`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, name: str, **options) -> None:
        super().__init__(in_channels, out_channels, kernel_size, name=name, norm_name=f"bn{name[3:]}", **options)


def branch_names(stage: int, index: int) -> dict[str, str]:
    """Parameter names of a block's sublayers: "res2a_branch2a" for `conv0` of block 0 in stage 0."""
    name = f"res{stage + 2}{ascii_lowercase[index]}"
    return {
        "conv0": f"{name}_branch2a",
        "conv1": f"{name}_branch2b",
        "conv2": f"{name}_branch2c",
        "scale": f"fc_{name}",
        "short": f"{name}_branch1",
    }


def named_deep_stem(
    in_channels: int, widths: tuple[int, int, int], conv_bn: Callable[..., nn.Layer]
) -> dict[str, nn.Layer]:
    """Build three 3x3 convolutions, the first with stride 2; `conv1_1` to `conv1_3` are attribute and parameter names.

    Args:
        in_channels: channels of the images.
        widths: channels after each convolution.
        conv_bn: builds a convolution with its batch norm, as `NamedConvBNLayer` does.
    """
    first, second, third = widths
    return {
        "conv1_1": conv_bn(in_channels, first, 3, stride=2, name="conv1_1"),
        "conv1_2": conv_bn(first, second, 3, name="conv1_2"),
        "conv1_3": conv_bn(second, third, 3, name="conv1_3"),
    }


class NamedResNet(Classifier):
    """Stem, max pooling, four stages of residual blocks, global average pooling, linear classifier.

    Args:
        stem: the stem's layers by attribute name.
        blocks: (stage, index in the stage, block) of each block in order, both numbers from 0.
        out: the classifier.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x channels x H x W to N x class_num.
    """

    head_layers = ("out",)

    def __init__(
        self,
        stem: dict[str, nn.Layer],
        blocks: Iterable[tuple[int, int, nn.Layer]],
        out: Linear,
        data_format: DataFormat,
    ) -> None:
        super().__init__(data_format)
        for name, layer in stem.items():
            self.add_sublayer(name, layer)
        self.pool2d_max = MaxPool2D(3, stride=2, padding=1, data_format=data_format)
        self.body_names = [*stem, "pool2d_max"]
        for stage, index, block in blocks:
            name = f"bb_{stage}_{index}"
            self.add_sublayer(name, block)
            self.body_names.append(name)
            self.feature_layers[4 << stage] = name
        self.pool2d_avg = AdaptiveAvgPool2D(1, data_format=data_format)
        self.out = out

    def forward_features(self, x):
        for name in self.body_names:
            x = self._sub_layers[name](x)
        return x

    def forward_head(self, features):
        return self.out(self.pool2d_avg(features).flatten(1))
