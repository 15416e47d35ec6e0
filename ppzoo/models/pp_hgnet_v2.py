"""PP-HGNetV2: PP-HGNet with light blocks of separable convolutions and, in the small networks, learnable affine blocks.

PaddleClas documentation, "PP-HGNetV2", 2023 (no article); Zhao, Lv, Xu, Wei, Wang, Dang, Liu, Chen: "DETRs Beat YOLOs
on Real-time Object Detection", CVPR 2024, arXiv:2304.08069, uses it as the backbone of RT-DETR. The structures are
those of PaddleClas 2.6.
"""

from __future__ import annotations

from typing import NamedTuple

from paddle import nn

from ppzoo.errors import ConfigError
from ppzoo.layers import (
    KaimingConvBNLayer,
    LearnableAffineBlock,
    MaxPool2D,
    WideHeadClassifier,
    add,
    concat,
    conv_norm_act_affine,
)
from ppzoo.models.catalog import Weights, register_variant


class Stage(NamedTuple):
    """Channels of the inner convolutions, output channels, number of blocks."""

    mid: int
    out: int
    blocks: int


class Structure(NamedTuple):
    """Widths of the stem, stages, convolutions per block, and whether there are affine blocks.

    The convolutions are 3x3 in the first two stages, and `LightConvBNAct` with 5x5 kernels in the last two.
    """

    stem: tuple[int, int]
    stages: list[Stage]
    layer_num: int
    lab: bool


LIGHT_FROM_STAGE = 2
LAB_LR = 0.01  # learning-rate factor of the affine blocks
STRUCTURES = {
    "B0": Structure((16, 16), [Stage(16, 64, 1), Stage(32, 256, 1), Stage(64, 512, 2), Stage(128, 1024, 1)], 3, True),
    "B1": Structure((24, 32), [Stage(32, 64, 1), Stage(48, 256, 1), Stage(96, 512, 2), Stage(192, 1024, 1)], 3, True),
    "B2": Structure((24, 32), [Stage(32, 96, 1), Stage(64, 384, 1), Stage(128, 768, 3), Stage(256, 1536, 1)], 4, True),
    "B3": Structure(
        (24, 32), [Stage(32, 128, 1), Stage(64, 512, 1), Stage(128, 1024, 3), Stage(256, 2048, 1)], 5, True
    ),
    "B4": Structure(
        (32, 48), [Stage(48, 128, 1), Stage(96, 512, 1), Stage(192, 1024, 3), Stage(384, 2048, 1)], 6, False
    ),
    "B5": Structure(
        (32, 64), [Stage(64, 128, 1), Stage(128, 512, 2), Stage(256, 1024, 5), Stage(512, 2048, 2)], 6, False
    ),
    "B6": Structure(
        (48, 96), [Stage(96, 192, 2), Stage(192, 512, 3), Stage(384, 1024, 6), Stage(768, 2048, 3)], 6, False
    ),
}


class ConvBNAct(KaimingConvBNLayer):
    """Convolution, batch norm, ReLU, and with `lab` an affine block after the ReLU.

    Args:
        in_channels, out_channels, kernel_size, act: as for `ConvBNLayer`.
        lab: whether there is an affine block; never without an activation.
        lr_mult: factor of the learning rate of all parameters; that of the affine block is multiplied by `LAB_LR`, too.
        options: further arguments of `KaimingConvBNLayer`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        lab: bool,
        act: str | None = "relu",
        lr_mult: float = 1.0,
        **options,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, act=act, lr_mult=lr_mult, **options)
        self.lab = LearnableAffineBlock(lr_mult=lr_mult * LAB_LR) if lab and act else None

    def forward(self, x, residual=None):
        if self.lab is None:
            return super().forward(x, residual)
        return conv_norm_act_affine(*self.parts, self.lab, x, residual)


class LightConvBNAct(nn.Layer):
    """A linear 1x1 convolution, then a depthwise convolution with ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the depthwise kernel, in pixels.
        options: `lab` and `lr_mult` of both `ConvBNAct` layers.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(in_channels, out_channels, 1, act=None, **options)
        self.conv2 = ConvBNAct(out_channels, out_channels, kernel_size, groups=out_channels, **options)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class StemBlock(nn.Layer):
    """3x3 convolution of stride 2, max pooling parallel to two 2x2 convolutions, 3x3 of stride 2, 1x1 convolution.

    Args:
        mid_channels: channels after the first convolution.
        out_channels: channels of the output.
        options: `lab` and `lr_mult` of all `ConvBNAct` layers.

    Shape: N x 3 x H x W to N x out_channels x H/4 x W/4.
    """

    def __init__(self, mid_channels: int, out_channels: int, **options) -> None:
        super().__init__()
        half = mid_channels // 2
        self.stem1 = ConvBNAct(3, mid_channels, 3, stride=2, **options)
        self.stem2a = ConvBNAct(mid_channels, half, 2, padding="SAME", **options)
        self.stem2b = ConvBNAct(half, mid_channels, 2, padding="SAME", **options)
        self.stem3 = ConvBNAct(2 * mid_channels, mid_channels, 3, stride=2, **options)
        self.stem4 = ConvBNAct(mid_channels, out_channels, 1, **options)
        self.pool = MaxPool2D(2, stride=1, ceil_mode=True, padding="SAME")

    def forward(self, x):
        x = self.stem1(x)
        return self.stem4(self.stem3(concat([self.pool(x), self.stem2b(self.stem2a(x))])))


class HGV2_Block(nn.Layer):
    """Consecutive convolutions; their outputs and the input are concatenated and projected by two 1x1 convolutions.

    Args:
        in_channels: channels of the input.
        stage: the stage that the block belongs to.
        layer_num: number of convolutions before the concatenation.
        light: use `LightConvBNAct` with 5x5 kernels instead of 3x3 convolutions.
        shortcut: add the input to the output.
        options: `lab` and `lr_mult` of all `ConvBNAct` layers.

    Shape: N x in_channels x H x W to N x stage.out x H x W.
    """

    def __init__(
        self, in_channels: int, stage: Stage, layer_num: int, *, light: bool, shortcut: bool, **options
    ) -> None:
        super().__init__()
        self.shortcut = shortcut
        widths = [in_channels] + [stage.mid] * layer_num
        layer, kernel_size = (LightConvBNAct, 5) if light else (ConvBNAct, 3)
        self.layers = nn.LayerList([layer(width, stage.mid, kernel_size, **options) for width in widths[:-1]])
        self.aggregation_squeeze_conv = ConvBNAct(sum(widths), stage.out // 2, 1, **options)
        self.aggregation_excitation_conv = ConvBNAct(stage.out // 2, stage.out, 1, **options)

    def forward(self, x):
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts[-1]))
        y = self.aggregation_excitation_conv(self.aggregation_squeeze_conv(concat(parts)))
        return add(y, x) if self.shortcut else y


class HGV2_Stage(nn.Layer):
    """A depthwise 3x3 convolution of stride 2 (not in the first stage), then blocks.

    Args:
        in_channels: channels of the input.
        stage: its channels and number of blocks.
        layer_num, light: as for `HGV2_Block`.
        downsample: whether there is the convolution of stride 2.
        options: `lab` and `lr_mult` of all `ConvBNAct` layers.
    """

    def __init__(
        self, in_channels: int, stage: Stage, layer_num: int, *, downsample: bool, light: bool, **options
    ) -> None:
        super().__init__()
        self.downsample = (
            ConvBNAct(in_channels, in_channels, 3, stride=2, groups=in_channels, act=None, **options)
            if downsample
            else None
        )
        self.blocks = nn.Sequential(
            *[
                HGV2_Block(
                    stage.out if number else in_channels, stage, layer_num, light=light, shortcut=number > 0, **options
                )
                for number in range(stage.blocks)
            ]
        )

    def forward(self, x):
        return self.blocks(x if self.downsample is None else self.downsample(x))


class PPHGNetV2(WideHeadClassifier):
    """PP-HGNetV2.

    Args:
        class_num: number of classes.
        structure: widths and depths.
        use_last_conv: whether there is a 1x1 convolution between the pooling and the linear layer.
        class_expand: channels of that convolution.
        dropout_prob: rate of the dropout after it (see `layers.downscaled_dropout`).
        lr_mult_list: factors of the learning rate of the stem and of the four stages.

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
        lr_mult_list: tuple[float, ...] = (1.0,) * 5,
    ) -> None:
        super().__init__()
        if len(lr_mult_list) != 5:
            raise ConfigError(f"lr_mult_list: expected a list of 5 values, got {list(lr_mult_list)}")
        self.stem = StemBlock(*structure.stem, lab=structure.lab, lr_mult=lr_mult_list[0])
        self.stages, channels = nn.LayerList(), structure.stem[1]
        for index, stage in enumerate(structure.stages):
            options = {"lab": structure.lab, "lr_mult": lr_mult_list[index + 1]}
            light = index >= LIGHT_FROM_STAGE
            self.stages.append(
                HGV2_Stage(channels, stage, structure.layer_num, downsample=index > 0, light=light, **options)
            )
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
            lab=LearnableAffineBlock(lr_mult=LAB_LR) if structure.lab else None,
        )

    def forward_features(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x


RESIZE = {"resize_short": 232, "interpolation": "bicubic", "backend": "pil"}
# Published top-1 and top-5. All official weights were trained by PaddleClas's distillation (SSLD): `pretrained: True`
# loads them, and `use_ssld` changes nothing. The weights of the distillation's first stage are for fine-tuning.
VARIANTS = {
    "PPHGNetV2_B0": (0.7777, 0.9391),
    "PPHGNetV2_B1": (0.7918, 0.9457),
    "PPHGNetV2_B2": (0.8174, 0.9588),
    "PPHGNetV2_B3": (0.8298, 0.9643),
    "PPHGNetV2_B4": (0.8357, 0.9672),
    "PPHGNetV2_B5": (0.8475, 0.9732),
    "PPHGNetV2_B6": (0.863, 0.9784),
}
for _name, _published in VARIANTS.items():
    _file = f"legendary_models/{_name}_ssld"
    _weights = Weights(f"{_file}_pretrained.pdparams", *_published, resize=RESIZE)
    register_variant(
        _name,
        PPHGNetV2,
        structure=STRUCTURES[_name[-2:]],
        weights=_weights,
        ssld=_weights,
        ssld_stage1=Weights(f"{_file}_stage1_pretrained.pdparams", resize=RESIZE),
    )
