"""PP-HGNet: blocks that concatenate the outputs of all their 3x3 convolutions, made for GPUs.

PaddleClas documentation, "PP-HGNet", 2022 (no article). The blocks are those of VoVNetV2 (Lee and Park: "CenterMask:
Real-Time Anchor-Free Instance Segmentation", CVPR 2020, arXiv:1911.06667): one-shot aggregation, a shortcut, and
effective squeeze-and-excitation, which keeps the number of channels. The stages are those of PaddleClas 2.6.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    Conv2D,
    KaimingConvBNLayer,
    MaxPool2D,
    WideHeadClassifier,
    add,
    concat,
    scale_channels,
)
from ppzoo.models.catalog import Weights, register_variant


class Stage(NamedTuple):
    """Channels of the 3x3 convolutions, output channels, number of blocks."""

    mid: int
    out: int
    blocks: int


class Structure(NamedTuple):
    """Widths of the stem, stages, 3x3 convolutions per block."""

    stem: list[int]
    stages: list[Stage]
    layer_num: int


STRUCTURES = {
    "tiny": Structure([48, 48, 96], [Stage(96, 224, 1), Stage(128, 448, 1), Stage(160, 512, 2), Stage(192, 768, 1)], 5),
    "small": Structure(
        [64, 64, 128], [Stage(128, 256, 1), Stage(160, 512, 1), Stage(192, 768, 2), Stage(224, 1024, 1)], 6
    ),
    "base": Structure(
        [96, 96, 160], [Stage(192, 320, 1), Stage(224, 640, 2), Stage(256, 960, 3), Stage(288, 1280, 2)], 7
    ),
}


class ESEModule(nn.Layer):
    """Multiply each channel by a gate, computed by one 1x1 convolution from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = AdaptiveAvgPool2D(1)
        self.conv = Conv2D(channels, channels, 1, weight_attr=nn.initializer.KaimingNormal())
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        return scale_channels(x, self.sigmoid(self.conv(self.avg_pool(x))))


class HG_Block(nn.Layer):
    """Consecutive 3x3 convolutions; their outputs and the input are concatenated and projected by a 1x1 convolution.

    Shape: N x in_channels x H x W to N x stage.out x H x W.
    """

    def __init__(self, in_channels: int, stage: Stage, layer_num: int, *, shortcut: bool) -> None:
        super().__init__()
        self.shortcut = shortcut
        widths = [in_channels] + [stage.mid] * layer_num
        self.layers = nn.LayerList([KaimingConvBNLayer(width, stage.mid, 3) for width in widths[:-1]])
        self.aggregation_conv = KaimingConvBNLayer(sum(widths), stage.out, 1)
        self.att = ESEModule(stage.out)

    def forward(self, x):
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts[-1]))
        y = self.att(self.aggregation_conv(concat(parts)))
        return add(y, x) if self.shortcut else y


class HG_Stage(nn.Layer):
    """A depthwise 3x3 convolution of stride 2 (not in the first stage), then blocks."""

    def __init__(self, in_channels: int, stage: Stage, layer_num: int, *, downsample: bool) -> None:
        super().__init__()
        self.downsample = (
            KaimingConvBNLayer(in_channels, in_channels, 3, stride=2, groups=in_channels, act=None)
            if downsample
            else None
        )
        self.blocks = nn.Sequential(
            *[
                HG_Block(stage.out if number else in_channels, stage, layer_num, shortcut=number > 0)
                for number in range(stage.blocks)
            ]
        )

    def forward(self, x):
        return self.blocks(x if self.downsample is None else self.downsample(x))


class PPHGNet(WideHeadClassifier):
    """PP-HGNet.

    Args:
        class_num: number of classes.
        structure: widths and depths.
        use_last_conv: whether there is a 1x1 convolution between the pooling and the linear layer.
        class_expand: channels of that convolution.
        dropout_prob: rate of the dropout after it (see `layers.downscaled_dropout`).

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(
        self,
        class_num: int = 1000,
        *,
        structure: Structure,
        use_last_conv: bool = True,
        class_expand: int = 2048,
        dropout_prob: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [3, *structure.stem]
        self.stem = nn.Sequential(
            *[
                KaimingConvBNLayer(before, after, 3, stride=1 if number else 2)
                for number, (before, after) in enumerate(pairwise(widths))
            ]
        )
        self.pool = MaxPool2D(3, stride=2, padding=1)
        self.stages, channels = nn.LayerList(), widths[-1]
        for index, stage in enumerate(structure.stages):
            self.stages.append(HG_Stage(channels, stage, structure.layer_num, downsample=index > 0))
            self.feature_layers[4 * 2**index] = f"stages.{index}"
            channels = stage.out
        self.build_head(
            channels,
            class_num,
            use_last_conv=use_last_conv,
            class_expand=class_expand,
            dropout_prob=dropout_prob,
            act="relu",
            weight_init=nn.initializer.KaimingNormal(),
        )

    def forward_features(self, x):
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        return x


def _weights(file: str, resize_short: int, top1: float, top5: float | None = None) -> Weights:
    resize = {"resize_short": resize_short, "interpolation": "bicubic", "backend": "pil"}
    return Weights(f"legendary_models/{file}_pretrained.pdparams", top1, top5, resize=resize)


register_variant(
    "PPHGNet_tiny",
    PPHGNet,
    structure=STRUCTURES["tiny"],
    weights=_weights("PPHGNet_tiny", 232, 0.7983, 0.9504),
    ssld=_weights("PPHGNet_tiny_ssld", 232, 0.8195),
)
register_variant(
    "PPHGNet_small",
    PPHGNet,
    structure=STRUCTURES["small"],
    weights=_weights("PPHGNet_small", 236, 0.8151, 0.9582),
    ssld=_weights("PPHGNet_small_ssld", 236, 0.8382),
)
# PaddleClas published only SSLD weights of this network. `pretrained: True` loads them, with or without `use_ssld`.
_BASE = _weights("PPHGNet_base_ssld", 236, 0.85, 0.9735)
register_variant("PPHGNet_base", PPHGNet, structure=STRUCTURES["base"], dropout_prob=0.2, weights=_BASE, ssld=_BASE)
