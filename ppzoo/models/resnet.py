"""ResNet: residual blocks around identity shortcuts, in the paper's version and two later ones.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, table 1 (the stages
are `layers.STAGE_DEPTHS`). Versions after He, Zhang, Zhang, Zhang, Xie, Li: "Bag of Tricks for Image Classification
with Convolutional Neural Networks", CVPR 2019, arXiv:1812.01187, section 4:

- vb: the paper's network, with the stride of a bottleneck in its 3x3 convolution;
- vc: vb whose 7x7 stem is three 3x3 convolutions;
- vd: vc whose shortcuts average 2x2 pixels where they halve the size.

Where the paper keeps an identity, PaddleClas projects in the first block of the first stage, too
(`use_first_short_conv`).

The `_cifar` networks take 32 x 32 images as section 4.2 of the paper does: one 3x3 convolution with stride 1, no
max-pool. They are the common re-telling, not the paper's CIFAR networks: stages and widths are those of table 1
(four of 64 to 512 filters), where the paper has three stages of 16 to 64 filters and 6n + 2 layers.
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import Literal

from paddle import ParamAttr, nn

from ppzoo.errors import ConfigError
from ppzoo.layers import (
    STAGE_DEPTHS,
    AdaptiveAvgPool2D,
    BasicBlock,
    BottleneckBlock,
    BranchConvBNLayer,
    Classifier,
    ConvBNLayer,
    DataFormat,
    DiverseBranchBlock,
    Linear,
    MaxPool2D,
    NamedResNet,
    block_places,
    branch_names,
    deep_stem,
    fan_in_uniform,
    named_deep_stem,
    uniform_linear,
)
from ppzoo.models.catalog import Weights, variant


class ResNet(Classifier):
    """ResNet in versions vb and vd, and for small images.

    Args:
        class_num: number of classes.
        depth: a key of `STAGE_DEPTHS`; basic blocks up to 34, bottlenecks from 50 on.
        version: "vb", "vd" or "cifar".
        use_first_short_conv: whether the first block has a convolution in its shortcut. Without it, depth 18 and 34
            are the paper's networks; bottlenecks need it, for they widen 64 channels to 256.
        input_image_channel: channels of the images.
        layer_type: "DiverseBranchBlock" puts several branches in the place of every 3x3 convolution of basic blocks.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x input_image_channel x H x W (224 x 224 natively) to N x class_num.

    Raises:
        ConfigError: bottlenecks without `use_first_short_conv` or with branches, or branches in "NHWC".
    """

    head_layers = ("fc",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        depth: int,
        version: str = "vb",
        use_first_short_conv: bool = True,
        input_image_channel: int = 3,
        layer_type: Literal["ConvBNLayer", "DiverseBranchBlock"] = "ConvBNLayer",
        data_format: DataFormat = "NCHW",
    ) -> None:
        super().__init__(data_format)
        bottleneck = depth >= 50
        branches = layer_type == "DiverseBranchBlock"
        if branches and (bottleneck or data_format != "NCHW"):
            raise ConfigError(
                f"layer_type: expected ConvBNLayer for depth {depth} in {data_format}, got DiverseBranchBlock, "
                "which depth 18 and 34 have, in NCHW"
            )
        if bottleneck and not use_first_short_conv:
            raise ConfigError(
                f"use_first_short_conv: expected True for bottleneck blocks, got False for depth {depth}; "
                "leave the option out, or take depth 18 or 34"
            )
        small = version == "cifar"
        layer = partial(ConvBNLayer, data_format=data_format)
        if version == "vd":
            stem = deep_stem(input_image_channel, (32, 32, 64), layer)
        elif version == "vb":
            stem = [layer(input_image_channel, 64, 7, stride=2)]
        else:
            stem = [layer(input_image_channel, 64, 3)]
        self.stem = nn.Sequential(*stem)
        self.max_pool = nn.Identity() if small else MaxPool2D(3, stride=2, padding=1, data_format=data_format)

        block = BottleneckBlock if bottleneck else BasicBlock
        self.out_channels = 2048 if bottleneck else 512
        places = block_places(
            depth,
            in_channels=64,
            width=64,
            out_channels=self.out_channels // 8,
            project_first=use_first_short_conv,
        )
        self.blocks = nn.Sequential(
            *[
                block(
                    place,
                    layer=_branched if branches else layer,
                    pooled_shortcut=version == "vd",
                    data_format=data_format,
                )
                for place in places
            ]
        )
        for stage, end in enumerate(accumulate(STAGE_DEPTHS[depth])):
            stride = (1 if small else 4) << stage
            if stride >= 4:
                self.feature_layers[stride] = f"blocks.{end - 1}"

        self.avg_pool = AdaptiveAvgPool2D(1, data_format=data_format)
        self.fc = uniform_linear(self.out_channels, class_num)

    def forward_features(self, x):
        return self.blocks(self.max_pool(self.stem(x)))

    def forward_head(self, features):
        return self.fc(self.avg_pool(features).flatten(1))


def _branched(in_channels: int, out_channels: int, kernel_size: int, **options) -> nn.Layer:
    """Branches, but plain convolutions in shortcuts."""
    return (DiverseBranchBlock if kernel_size > 1 else ConvBNLayer)(in_channels, out_channels, kernel_size, **options)


class ResNet_cifar(ResNet):
    """ResNet for images of 32 x 32 pixels: the last feature map has 4 x 4, and no shape-keeping shortcut is projected.

    Args:
        class_num, depth, input_image_channel, data_format: those of `ResNet`.

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
    """ResNet-vc with bottlenecks; of an older generation in PaddleClas, hence with explicit parameter names.

    Args:
        class_num, depth, data_format: those of `ResNet`.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(self, class_num: int = 1000, *, depth: int, data_format: DataFormat = "NCHW") -> None:
        layer = partial(BranchConvBNLayer, data_format=data_format)
        stem = named_deep_stem(3, (32, 32, 64), layer)
        blocks = [
            (place, BottleneckBlock(place, layer=layer, names=branch_names(place), data_format=data_format))
            for place in block_places(depth, in_channels=64, width=64, out_channels=256)
        ]
        out = Linear(
            2048,
            class_num,
            weight_attr=ParamAttr(name="fc_0.w_0", initializer=fan_in_uniform(2048)),
            bias_attr=ParamAttr(name="fc_0.b_0"),
        )
        super().__init__(stem, blocks, out, data_format)


# Depth, version; of the official weights: top-1, top-5, GFLOPs, million parameters; of the distilled: top-1, top-5.
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
    variant(
        _name,
        ResNet,
        depth=_depth,
        version=_version,
        weights=Weights(_file.format(""), _top1, _top5, _flops, _params),
        ssld=Weights(_file.format("_ssld"), *_distilled, _flops, _params) if _distilled else None,
    )

variant(
    "ResNet50_vc",
    ResNet_vc,
    depth=50,
    weights=Weights("ResNet50_vc_pretrained.pdparams", top1=0.7835, top5=0.9403, flops=4.35, params=25.63),
)

for _depth in (18, 34, 50, 152):
    variant(f"ResNet{_depth}_cifar", ResNet_cifar, depth=_depth, image_shape=(3, 32, 32))
