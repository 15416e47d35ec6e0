"""ResNet: residual blocks around identity shortcuts.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, table 1 and figure 5.
The versions vb, vc and vd are ResNet-B, ResNet-C and ResNet-D of He, Zhang, Zhang, Zhang, Xie, Li: "Bag of Tricks for
Image Classification with Convolutional Neural Networks", CVPR 2019, arXiv:1812.01187, section 4. vb is the network of
the first paper, but a bottleneck has its stride in the 3x3 convolution; vc is vb with three 3x3 convolutions instead of
the 7x7 in the stem; vd is vc with 2x2 average pooling in the shortcuts that halve the size.

Unlike in the first paper, the shortcut of the very first block has a convolution in depths 18 and 34, too, as in
PaddleClas (`use_first_short_conv`).

The `_cifar` networks take 32 x 32 images, as in section 4.2 of the paper: a 3x3 stem with stride 1, no max pooling.
They follow the widespread variant, not the paper's CIFAR networks: stages and widths are those of table 1 (four of 64
to 512 channels), where the paper has three stages of 16 to 64 channels and 6n + 2 layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from operator import mul
from typing import Literal

from paddle import ParamAttr, nn

from ppzoo.errors import ConfigError
from ppzoo.layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BranchConvBNLayer,
    Classifier,
    ConvBNLayer,
    DataFormat,
    DiverseBranchBlock,
    Linear,
    MaxPool2D,
    NamedResNet,
    branch_names,
    fan_in_uniform,
    named_deep_stem,
    uniform_linear,
    use_twice,
)
from ppzoo.models.catalog import Weights, register_variant

# Depth -> number of blocks in each of the four stages: table 1. Depth 200: He et al., arXiv:1603.05027, appendix.
STAGE_DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}
NO_NAMES: Mapping[str, str] = {}
Stride = int | list[int]


@dataclass(frozen=True)
class BlockConfig:
    """Position and sizes of one residual block.

    Attributes:
        stage: index of the stage, from 0.
        index: index of the block in its stage, from 0.
        in_channels, out_channels: channels of the block's input and output.
        width: channels between its convolutions.
        stride: in the first block of a stage that of the stage, else 1; a number or [vertical, horizontal].
        project: whether the shortcut has a 1x1 convolution.
    """

    stage: int
    index: int
    in_channels: int
    width: int
    out_channels: int
    stride: Stride
    project: bool


def block_configs(
    depth: int,
    *,
    in_channels: int,
    width: int,
    out_channels: int,
    project_first: bool = True,
    strides: Sequence[Stride] = (1, 2, 2, 2),
) -> Iterator[BlockConfig]:
    """Yield the configuration of each block, in order.

    Args:
        depth: a key of `STAGE_DEPTHS`.
        in_channels: channels after the stem.
        width, out_channels: those of the first stage; each further stage doubles them.
        project_first: whether the very first block has a convolution in its shortcut.
        strides: stride of the first block of each stage.
    """
    for stage, blocks in enumerate(STAGE_DEPTHS[depth]):
        for index in range(blocks):
            yield BlockConfig(
                stage,
                index,
                in_channels,
                width << stage,
                out_channels << stage,
                stride=strides[stage] if index == 0 else 1,
                project=index == 0 and (stage > 0 or project_first),
            )
            in_channels = out_channels << stage


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions and a shortcut (figure 5, left).

    Args:
        config: sizes of the block.
        conv_bn: builds a convolution with its batch norm, as `ConvBNLayer` does.
        names: parameter names of the convolutions by attribute name; by default, generated names.
        pooled_shortcut: downsample shortcuts with 2x2 average pooling instead of a strided convolution (version vd).
        data_format: layout of the input and the output, "NCHW" or "NHWC".

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        config: BlockConfig,
        *,
        conv_bn: Callable[..., nn.Layer],
        names: Mapping[str, str] = NO_NAMES,
        pooled_shortcut: bool = False,
        data_format: DataFormat = "NCHW",
    ) -> None:
        super().__init__()
        self.conv0 = conv_bn(config.in_channels, config.width, 3, stride=config.stride, name=names.get("conv0"))
        self.conv1 = conv_bn(config.width, config.out_channels, 3, name=names.get("conv1"))
        self.pool, self.short = shortcut_layers(
            config, conv_bn, names.get("short"), pooled=pooled_shortcut, data_format=data_format
        )

    def forward(self, x):
        x, other = use_twice(x)
        shortcut = self.short(self.pool(other))
        return self.conv1(self.conv0(x), residual=shortcut)  # ReLU(norm(conv(...)) + shortcut)


class BottleneckBlock(nn.Layer):
    """1x1 to `width` channels, 3x3 with the stride, 1x1 to `out_channels`, and a shortcut (figure 5, right).

    Args:
        config, conv_bn, names, pooled_shortcut, data_format: as for `BasicBlock`.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        config: BlockConfig,
        *,
        conv_bn: Callable[..., nn.Layer],
        names: Mapping[str, str] = NO_NAMES,
        pooled_shortcut: bool = False,
        data_format: DataFormat = "NCHW",
    ) -> None:
        super().__init__()
        self.conv0 = conv_bn(config.in_channels, config.width, 1, name=names.get("conv0"))
        self.conv1 = conv_bn(config.width, config.width, 3, stride=config.stride, name=names.get("conv1"))
        self.conv2 = conv_bn(config.width, config.out_channels, 1, name=names.get("conv2"))
        self.pool, self.short = shortcut_layers(
            config, conv_bn, names.get("short"), pooled=pooled_shortcut, data_format=data_format
        )

    def forward(self, x):
        x, other = use_twice(x)
        shortcut = self.short(self.pool(other))
        return self.conv2(self.conv1(self.conv0(x)), residual=shortcut)  # ReLU(norm(conv(...)) + shortcut)


def shortcut_layers(
    config: BlockConfig, conv_bn: Callable[..., nn.Layer], name: str | None, *, pooled: bool, data_format: DataFormat
) -> tuple[nn.Layer, nn.Layer]:
    """Build the pooling layer and the 1x1 convolution of a shortcut; either can be an identity."""
    pool: nn.Layer = nn.Identity()
    stride = config.stride
    if pooled and stride == 2:
        pool, stride = AvgPool2D(2, stride=2, ceil_mode=True, data_format=data_format), 1
    elif pooled and stride != 1:
        pool, stride = AvgPool2D(2, stride=stride, padding="SAME", data_format=data_format), 1
    if not config.project:
        return pool, nn.Identity()
    return pool, conv_bn(config.in_channels, config.out_channels, 1, stride=stride, act=None, name=name)


def stem_layers(version: str, in_channels: int, conv_bn: Callable[..., nn.Layer], stride: Stride) -> list[nn.Layer]:
    """Build the convolutions before the max pooling: one 7x7 (vb), three 3x3 (vd), or one 3x3 with stride 1 (cifar)."""
    if version == "vd":
        return [conv_bn(in_channels, 32, 3, stride=stride), conv_bn(32, 32, 3), conv_bn(32, 64, 3)]
    if version == "vb":
        return [conv_bn(in_channels, 64, 7, stride=stride)]
    return [conv_bn(in_channels, 64, 3)]


def stage_outputs(depth: int, strides: Sequence[Stride]) -> dict[int, str]:
    """Return stride -> attribute path of the last block of each stage, for vertical strides of at least 4 pixels.

    Args:
        strides: strides of the layers before the blocks, and of the last three stages.
    """
    vertical = [stride if isinstance(stride, int) else stride[0] for stride in strides]
    totals = list(accumulate(vertical, mul))[-4:]
    ends = accumulate(STAGE_DEPTHS[depth])
    outputs = {total: f"blocks.{end - 1}" for total, end in zip(totals, ends, strict=True)}
    return {stride: name for stride, name in outputs.items() if stride >= 4}


class ResNet(Classifier):
    """ResNet in versions vb and vd, and for small images.

    Args:
        class_num: number of classes.
        depth: a key of `STAGE_DEPTHS`; basic blocks up to 34, bottlenecks from 50 on.
        version: "vb", "vd" or "cifar".
        use_first_short_conv: whether the very first block has a convolution in its shortcut. Without it, depths 18 and
            34 are the paper's networks; bottlenecks need it, because they widen 64 channels to 256.
        stride_list: strides of the stem, of the max pooling, and of the last three stages; a stride is a number or
            [vertical, horizontal].
        input_image_channel: channels of the images.
        layer_type: "DiverseBranchBlock" replaces every 3x3 convolution of basic blocks by several branches.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x input_image_channel x H x W (224 x 224 natively) to N x class_num.

    Raises:
        ConfigError: bottlenecks without `use_first_short_conv`, branches in bottlenecks or in "NHWC", or a
            `stride_list` without exactly five strides.
    """

    head_layers = ("fc",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        depth: int,
        version: str = "vb",
        use_first_short_conv: bool = True,
        stride_list: tuple[Stride, ...] = (2,) * 5,
        input_image_channel: int = 3,
        layer_type: Literal["ConvBNLayer", "DiverseBranchBlock"] = "ConvBNLayer",
        data_format: DataFormat = "NCHW",
    ) -> None:
        super().__init__(data_format)
        bottleneck = depth >= 50
        branches = layer_type == "DiverseBranchBlock"
        if branches and (bottleneck or data_format != "NCHW"):
            raise ConfigError(
                f"layer_type: expected ConvBNLayer for depth {depth} and data_format {data_format}, got "
                "DiverseBranchBlock; it requires an architecture of depth 18 or 34 and data_format NCHW"
            )
        if bottleneck and not use_first_short_conv:
            raise ConfigError(
                f"use_first_short_conv: expected True for bottleneck blocks, got False for depth {depth}; "
                "omit the option, or use an architecture of depth 18 or 34"
            )
        if len(stride_list) != 5:
            raise ConfigError(f"stride_list: expected a list of 5 values, got {list(stride_list)}")
        conv_bn = partial(ConvBNLayer, data_format=data_format)
        is_small = version == "cifar"
        stem_stride, pool_stride, *stage_strides = stride_list
        self.stem = nn.Sequential(*stem_layers(version, input_image_channel, conv_bn, stem_stride))
        pool = MaxPool2D(3, stride=pool_stride, padding=1, data_format=data_format)
        self.max_pool = nn.Identity() if is_small else pool

        self.out_channels = 2048 if bottleneck else 512
        configs = block_configs(
            depth,
            in_channels=64,
            width=64,
            out_channels=self.out_channels // 8,
            project_first=use_first_short_conv,
            strides=(1, *stage_strides),
        )
        build_block = partial(
            BottleneckBlock if bottleneck else BasicBlock,
            conv_bn=branched_conv_bn if branches else conv_bn,
            pooled_shortcut=version == "vd",
            data_format=data_format,
        )
        self.blocks = nn.Sequential(*[build_block(config) for config in configs])
        self.feature_layers.update(stage_outputs(depth, (1, *stage_strides) if is_small else stride_list))

        self.avg_pool = AdaptiveAvgPool2D(1, data_format=data_format)
        self.fc = uniform_linear(self.out_channels, class_num)

    def forward_features(self, x):
        return self.blocks(self.max_pool(self.stem(x)))

    def forward_head(self, features):
        return self.fc(self.avg_pool(features).flatten(1))


def branched_conv_bn(in_channels: int, out_channels: int, kernel_size: int, **options) -> nn.Layer:
    """Build a `DiverseBranchBlock`, or a `ConvBNLayer` for the 1x1 convolutions of shortcuts; same arguments."""
    layer = DiverseBranchBlock if kernel_size > 1 else ConvBNLayer
    return layer(in_channels, out_channels, kernel_size, **options)


class ResNet_cifar(ResNet):
    """ResNet for 32 x 32 images: the last feature map has 4 x 4 pixels; shortcuts are identities where possible.

    Args:
        class_num, depth, input_image_channel, data_format: as for `ResNet`.

    Shape: N x input_image_channel x H x W (32 x 32 natively) to N x class_num.
    """

    def __init__(
        self, class_num: int = 10, *, depth: int, input_image_channel: int = 3, data_format: DataFormat = "NCHW"
    ) -> None:
        super().__init__(
            class_num,
            depth=depth,
            version="cifar",
            use_first_short_conv=depth >= 50,
            input_image_channel=input_image_channel,
            data_format=data_format,
        )


class ResNet_vc(NamedResNet):
    """ResNet-vc with bottlenecks; in PaddleClas it belongs to an older generation with explicit parameter names.

    Args:
        class_num, depth, data_format: as for `ResNet`.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(self, class_num: int = 1000, *, depth: int, data_format: DataFormat = "NCHW") -> None:
        conv_bn = partial(BranchConvBNLayer, data_format=data_format)
        stem = named_deep_stem(3, (32, 32, 64), conv_bn)
        blocks = []
        for config in block_configs(depth, in_channels=64, width=64, out_channels=256):
            names = branch_names(config.stage, config.index)
            block = BottleneckBlock(config, conv_bn=conv_bn, names=names, data_format=data_format)
            blocks.append((config.stage, config.index, block))
        out = Linear(
            2048,
            class_num,
            weight_attr=ParamAttr(name="fc_0.w_0", initializer=fan_in_uniform(2048)),
            bias_attr=ParamAttr(name="fc_0.b_0"),
        )
        super().__init__(stem, blocks, out, data_format)


# Depth, version; published top-1, top-5, 10^9 multiply-adds, 10^6 parameters; top-1 and top-5 with SSLD.
for _depth, _version, _top1, _top5, _flops, _params, _distilled in [
    (18, "vb", 0.7098, 0.8992, 1.83, 11.7, None),
    (34, "vb", 0.7457, 0.9214, 3.68, 21.81, None),
    (50, "vb", 0.765, 0.93, 4.11, 25.61, None),
    (101, "vb", 0.7756, 0.9364, 7.83, 44.65, None),
    (152, "vb", 0.7826, 0.9396, 11.56, 60.34, None),
    (18, "vd", 0.7226, 0.908, 2.07, 11.72, None),
    (34, "vd", 0.7598, 0.9298, 3.93, 21.84, (0.7972, 0.949)),
    (50, "vd", 0.7912, 0.9444, 4.35, 25.63, (0.83, 0.964)),
    (101, "vd", 0.8017, 0.9497, 8.08, 44.67, (0.8373, 0.9669)),
    (152, "vd", 0.8059, 0.953, 11.8, 60.36, None),
    (200, "vd", 0.8093, 0.9533, 15.3, 74.93, None),
]:
    _name = f"ResNet{_depth}_vd" if _version == "vd" else f"ResNet{_depth}"
    _file = f"legendary_models/{_name}{{}}_pretrained.pdparams"
    register_variant(
        _name,
        ResNet,
        depth=_depth,
        version=_version,
        weights=Weights(_file.format(""), _top1, _top5, _flops, _params),
        ssld=Weights(_file.format("_ssld"), *_distilled, _flops, _params) if _distilled else None,
    )

register_variant(
    "ResNet50_vc",
    ResNet_vc,
    depth=50,
    weights=Weights("ResNet50_vc_pretrained.pdparams", top1=0.7835, top5=0.9403, flops=4.35, params=25.63),
)

for _depth in (18, 34, 50, 152):
    register_variant(f"ResNet{_depth}_cifar", ResNet_cifar, depth=_depth, image_shape=(3, 32, 32))
