"""SENet: residual networks whose blocks scale their channels by squeeze-and-excitation.

Hu, Shen, Albanie, Sun, Wu: "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507, table 1 (SE-ResNet-50,
SE-ResNeXt-50) and appendix (SENet-154). The `_vd` networks have the stem and the pooled shortcuts of He et al.:
"Bag of Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019, arXiv:1812.01187, section 4.
ResNeXt's grouped bottlenecks: Xie, Girshick, Dollar, Tu, He: "Aggregated Residual Transformations for Deep Neural
Networks", CVPR 2017, arXiv:1611.05431, figure 3c. PaddleClas's SENet154_vd has ResNet-152's stages and 64 groups, but
not the halved 1x1 convolutions, 3x3 shortcuts and dropout of the paper's appendix. It is reproduced in this form,
because the official weights have it.

SENet18_cifar is a widespread variant for 32 x 32 images: ResNet-18's stages of pre-activation blocks (He, Zhang, Ren,
Sun: "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv:1603.05027, figure 1b), each with
squeeze-and-excitation (reduction 16) on its residual. Unlike that paper's networks it has a batch norm in its stem
and none after the last block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    BranchConvBNLayer,
    Classifier,
    Conv2D,
    ConvBNLayer,
    DataFormat,
    NamedConvBNLayer,
    NamedResNet,
    SELayer,
    add,
    add_relu,
    batch_norm,
    branch_names,
    named_deep_stem,
    norm_act,
    uniform_linear,
)
from ppzoo.models.catalog import Weights, register_variant
from ppzoo.models.resnet import BlockConfig, block_configs, shortcut_layers

REDUCTION = 16


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions, squeeze-and-excitation, and a pooled shortcut.

    Args:
        config: sizes of the block.
        conv_bn: builds a convolution with its batch norm, as `NamedConvBNLayer` does.
        names: parameter name of each sublayer.
        data_format: layout of the input and the output, "NCHW" or "NHWC".

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        config: BlockConfig,
        *,
        conv_bn: Callable[..., nn.Layer],
        names: Mapping[str, str],
        data_format: DataFormat = "NCHW",
    ) -> None:
        super().__init__()
        self.conv0 = conv_bn(config.in_channels, config.width, 3, stride=config.stride, name=names["conv0"])
        self.conv1 = conv_bn(config.width, config.out_channels, 3, act=None, name=names["conv1"])
        self.scale = SELayer(config.out_channels, REDUCTION, name=names["scale"], data_format=data_format)
        self.pool, self.short = shortcut_layers(config, conv_bn, names["short"], pooled=True, data_format=data_format)

    def forward(self, x):
        shortcut = self.short(self.pool(x))
        return add_relu(shortcut, self.scale(self.conv1(self.conv0(x))))


class BottleneckBlock(nn.Layer):
    """1x1 to `width` channels, 3x3 with the stride, 1x1 to `out_channels`, squeeze-and-excitation, and a shortcut.

    Args:
        config, conv_bn, names, data_format: as for `BasicBlock`.
        pooled_shortcut: downsample shortcuts with 2x2 average pooling instead of a strided convolution (version vd).
        groups: groups of the 3x3 convolution: the cardinality of ResNeXt.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        config: BlockConfig,
        *,
        conv_bn: Callable[..., nn.Layer],
        names: Mapping[str, str],
        pooled_shortcut: bool = True,
        groups: int = 1,
        data_format: DataFormat = "NCHW",
    ) -> None:
        super().__init__()
        width = config.width
        self.conv0 = conv_bn(config.in_channels, width, 1, name=names["conv0"])
        self.conv1 = conv_bn(width, width, 3, stride=config.stride, groups=groups, name=names["conv1"])
        self.conv2 = conv_bn(width, config.out_channels, 1, act=None, name=names["conv2"])
        self.scale = SELayer(config.out_channels, REDUCTION, name=names["scale"], data_format=data_format)
        self.pool, self.short = shortcut_layers(
            config, conv_bn, names["short"], pooled=pooled_shortcut, data_format=data_format
        )

    def forward(self, x):
        shortcut = self.short(self.pool(x))
        return add_relu(shortcut, self.scale(self.conv2(self.conv1(self.conv0(x)))))


class SE_ResNet_vd(NamedResNet):
    """ResNet-vd with squeeze-and-excitation.

    Args:
        class_num: number of classes.
        depth: a key of `resnet.STAGE_DEPTHS`; basic blocks up to 34, bottlenecks from 50 on.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(self, class_num: int = 1000, *, depth: int, data_format: DataFormat = "NCHW") -> None:
        conv_bn = partial(BranchConvBNLayer, data_format=data_format)
        stem = named_deep_stem(3, (32, 32, 64), conv_bn)
        block, out_channels = (BottleneckBlock, 256) if depth >= 50 else (BasicBlock, 64)
        blocks = []
        for config in block_configs(depth, in_channels=64, width=64, out_channels=out_channels):
            names = branch_names(config.stage, config.index)
            layer = block(config, conv_bn=conv_bn, names=names, data_format=data_format)
            blocks.append((config.stage, config.index, layer))
        super().__init__(stem, blocks, uniform_linear(out_channels * 8, class_num, "fc6"), data_format)


class ResNeXt(NamedResNet):
    """ResNeXt with squeeze-and-excitation.

    Args:
        class_num: number of classes.
        depth: 50, 101 or 152.
        cardinality: groups of the 3x3 convolutions, each of 4 channels in the first stage: 32 or 64.
        version: "vb" (7x7 stem, strided shortcuts) or "vd" (deep stem, pooled shortcuts).
        input_image_channel: channels of the images.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x input_image_channel x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(
        self,
        class_num: int = 1000,
        *,
        depth: int,
        cardinality: int = 32,
        version: str = "vb",
        input_image_channel: int = 3,
        data_format: DataFormat = "NCHW",
    ) -> None:
        conv_bn = partial(NamedConvBNLayer, data_format=data_format)
        if version == "vd":
            channels, stem = 128, named_deep_stem(input_image_channel, (64, 64, 128), conv_bn)
        else:
            channels, stem = 64, {"conv": conv_bn(input_image_channel, 64, 7, stride=2, name="conv1")}
        blocks = []
        for config in block_configs(depth, in_channels=channels, width=4 * cardinality, out_channels=256):
            # PaddleClas counts the stages of depth 152 from 4, those of the other depths from 2.
            stage_number = config.stage + (4 if depth == 152 else 2)
            block = BottleneckBlock(
                config,
                conv_bn=conv_bn,
                names=resnext_names(stage_number, config.index + 1),
                pooled_shortcut=version == "vd",
                groups=cardinality,
                data_format=data_format,
            )
            blocks.append((config.stage, config.index, block))
        super().__init__(stem, blocks, uniform_linear(2048, class_num, "fc6"), data_format)


def resnext_names(stage: int, block: int) -> dict[str, str]:
    """Parameter names of a block's sublayers: "conv2_1_x1" for `conv0` of block 1 in stage 2."""
    name = f"{stage}_{block}"
    return {
        "conv0": f"conv{name}_x1",
        "conv1": f"conv{name}_x2",
        "conv2": f"conv{name}_x3",
        "scale": f"fc{name}",
        "short": f"conv{name}_prj",
    }


class PreActBlock(nn.Layer):
    """Batch norm and ReLU before each of two 3x3 convolutions, squeeze-and-excitation, and a shortcut.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(self, config: BlockConfig, *, data_format: DataFormat = "NCHW") -> None:
        super().__init__()
        convolution = partial(Conv2D, bias_attr=False, data_format=data_format)
        self.bn1 = batch_norm(config.in_channels, data_layout=data_format)
        self.conv1 = convolution(config.in_channels, config.width, 3, stride=config.stride, padding=1)
        self.bn2 = batch_norm(config.width, data_layout=data_format)
        self.conv2 = convolution(config.width, config.out_channels, 3, padding=1)
        self.scale = SELayer(config.out_channels, REDUCTION, data_format=data_format)
        self.short = (
            convolution(config.in_channels, config.out_channels, 1, stride=config.stride) if config.project else None
        )

    def forward(self, x):
        y = norm_act(self.bn1, "relu", x)
        shortcut = x if self.short is None else self.short(y)
        y = self.conv2(norm_act(self.bn2, "relu", self.conv1(y)))
        return add(shortcut, self.scale(y))


class SENet_cifar(Classifier):
    """Pre-activation ResNet with squeeze-and-excitation for images of 32 x 32 pixels.

    Args:
        class_num: number of classes.
        depth: 18 or 34.
        input_image_channel: channels of the images.
        data_format: layout inside the network, "NCHW" or "NHWC".

    Shape: N x input_image_channel x H x W (32 x 32 natively) to N x class_num.
    """

    head_layers = ("fc",)

    def __init__(
        self, class_num: int = 10, *, depth: int, input_image_channel: int = 3, data_format: DataFormat = "NCHW"
    ) -> None:
        super().__init__(data_format)
        self.stem = ConvBNLayer(input_image_channel, 64, 3, data_format=data_format)
        configs = list(block_configs(depth, in_channels=64, width=64, out_channels=64, project_first=False))
        self.blocks = nn.Sequential(*[PreActBlock(config, data_format=data_format) for config in configs])
        for number, config in enumerate(configs):
            if config.stage >= 2:
                self.feature_layers[1 << config.stage] = f"blocks.{number}"
        self.avg_pool = AdaptiveAvgPool2D(1, data_format=data_format)
        self.fc = uniform_linear(512, class_num)

    def forward_features(self, x):
        return self.blocks(self.stem(x))

    def forward_head(self, features):
        return self.fc(self.avg_pool(features).flatten(1))


for _depth, _top1, _top5, _flops, _params in [
    (18, 0.7333, 0.9138, 2.07, 11.81),
    (34, 0.7651, 0.932, 3.93, 22.0),
    (50, 0.7952, 0.9475, 4.36, 28.16),
]:
    _name = f"SE_ResNet{_depth}_vd"
    _weights = Weights(f"{_name}_pretrained.pdparams", _top1, _top5, _flops, _params)
    register_variant(_name, SE_ResNet_vd, depth=_depth, weights=_weights)

for _name, _depth, _cardinality, _version, _top1, _top5, _flops, _params in [
    ("SE_ResNeXt50_32x4d", 50, 32, "vb", 0.7844, 0.9396, 4.27, 27.63),
    ("SE_ResNeXt101_32x4d", 101, 32, "vb", 0.7939, 0.9443, 8.03, 49.09),
    ("SE_ResNeXt50_vd_32x4d", 50, 32, "vd", 0.8024, 0.9489, 5.64, 27.76),
    ("SENet154_vd", 152, 64, "vd", 0.814, 0.9548, 24.45, 122.03),
]:
    _weights = Weights(f"{_name}_pretrained.pdparams", _top1, _top5, _flops, _params)
    register_variant(_name, ResNeXt, depth=_depth, cardinality=_cardinality, version=_version, weights=_weights)

register_variant("SENet18_cifar", SENet_cifar, depth=18, image_shape=(3, 32, 32))
