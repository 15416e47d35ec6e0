"""The frame of PaddleClas's older residual networks (ResNet-vc, SE-ResNet-vd, SE-ResNeXt) and their parameter names.

All of them have blocks `bb_STAGE_INDEX` and a classifier `out`; their checkpoints carry explicit parameter names,
partly those of the first ResNet in Caffe ("res2a_branch2a").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from string import ascii_lowercase

from paddle import nn

from ppzoo.layers.classifier import Classifier, DataFormat
from ppzoo.layers.conv_bn import NamedConvBNLayer
from ppzoo.layers.native_layers import AdaptiveAvgPool2D, Linear, MaxPool2D
from ppzoo.layers.residual import BlockPlace, ResidualBlock, deep_stem


class BranchConvBNLayer(NamedConvBNLayer):
    """Convolution, batch norm, activation; the norm of "res2a_branch1" (and of "conv1_1") is "bn2a_branch1" ("bnv1_1").

    The options are those of `ConvBNLayer`.
    """

    def __init__(self, *sizes: int, name: str, **options) -> None:
        super().__init__(*sizes, name=name, norm_name=f"bn{name[3:]}", **options)


def branch_names(place: BlockPlace) -> dict[str, str]:
    """Parameter names of a block's sublayers: "res2a_branch2a" for the first convolution of the first block."""
    name = f"res{place.stage + 2}{ascii_lowercase[place.index]}"
    return {
        "conv0": f"{name}_branch2a",
        "conv1": f"{name}_branch2b",
        "conv2": f"{name}_branch2c",
        "scale": f"fc_{name}",
        "short": f"{name}_branch1",
    }


def named_deep_stem(
    in_channels: int, widths: tuple[int, int, int], layer: Callable[..., nn.Layer]
) -> dict[str, nn.Layer]:
    """`deep_stem` by attribute names, which are its parameter names as well: `conv1_1` to `conv1_3`."""
    names = ("conv1_1", "conv1_2", "conv1_3")
    return dict(zip(names, deep_stem(in_channels, widths, layer, names), strict=True))


class NamedResNet(Classifier):
    """Stem, max-pool, four stages of residual blocks, global average pool, linear classifier.

    Args:
        stem: attribute name of each layer of the stem, and the layer.
        blocks: where each block stands, and the block.
        out: the classifier.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x channels x H x W to N x classes.
    """

    head_layers = ("out",)

    def __init__(
        self,
        stem: dict[str, nn.Layer],
        blocks: Iterable[tuple[BlockPlace, ResidualBlock]],
        out: Linear,
        data_format: DataFormat,
    ) -> None:
        super().__init__(data_format)
        for name, layer in stem.items():
            self.add_sublayer(name, layer)
        self.pool2d_max = MaxPool2D(3, stride=2, padding=1, data_format=data_format)
        self.body_names = [*stem, "pool2d_max"]
        for place, block in blocks:
            name = f"bb_{place.stage}_{place.index}"
            self.add_sublayer(name, block)
            self.body_names.append(name)
            self.feature_layers[4 << place.stage] = name
        self.pool2d_avg = AdaptiveAvgPool2D(1, data_format=data_format)
        self.out = out

    def forward_features(self, x):
        for name in self.body_names:
            x = self._sub_layers[name](x)
        return x

    def forward_head(self, features):
        return self.out(self.pool2d_avg(features).flatten(1))
