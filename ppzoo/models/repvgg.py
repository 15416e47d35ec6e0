"""RepVGG: parallel 3x3, 1x1 and identity branches in training, which are one 3x3 convolution in inference.

Ding, Zhang, Ma, Han, Ding, Sun: "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021, arXiv:2101.03697, tables 2
and 3, section 3.3 (re-parameterization) and 3.4 (architecture). D2se, with squeeze-and-excitation after each sum of
branches, is from the authors' code. `network.fuse()` fuses the branches; exporting does it, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    BatchNorm2D,
    Classifier,
    Conv2D,
    ConvBNLayer,
    ConvSqueezeExcite,
    Linear,
    Reparameterized,
    activate,
    conv_norm_act,
    fuse_norm,
    fused_convolution,
    identity_kernel,
    is_plain,
    pad_kernel,
    repvgg_branches,
)
from ppzoo.models.catalog import Weights, register_variant
from ppzoo.paddle_internals import conv_options


class Structure(NamedTuple):
    """Sizes of a network.

    Attributes:
        depths: number of blocks of stages 1 to 4.
        width: width multiplier of the stem, which has at most 64 channels, and of stages 1 to 3 (the paper's a).
        last_width: width multiplier of stage 4 (the paper's b).
        groups: groups of the convolutions of layers 2, 4, ..., `LAST_GROUPED_LAYER`; the stem is layer 0.
        squeeze_excite: whether the blocks have squeeze-and-excitation.
    """

    depths: list[int]
    width: float
    last_width: float
    groups: int = 1
    squeeze_excite: bool = False


A, B = [2, 4, 14, 1], [4, 6, 16, 1]
STRUCTURES = {
    "A0": Structure(A, 0.75, 2.5),
    "A1": Structure(A, 1, 2.5),
    "A2": Structure(A, 1.5, 2.75),
    "B0": Structure(B, 1, 2.5),
    "B1": Structure(B, 2, 4),
    "B1g2": Structure(B, 2, 4, groups=2),
    "B1g4": Structure(B, 2, 4, groups=4),
    "B2": Structure(B, 2.5, 5),
    "B2g4": Structure(B, 2.5, 5, groups=4),
    "B3": Structure(B, 3, 5),
    "B3g4": Structure(B, 3, 5, groups=4),
    "D2se": Structure([8, 14, 24, 1], 2.5, 5, squeeze_excite=True),
}
WIDTHS = [64, 128, 256, 512]
LAST_GROUPED_LAYER = 26


class SEBlock(ConvSqueezeExcite):
    """Squeeze-and-excitation with sublayers `down` and `up`."""

    reduce_key, expand_key = "down", "up"


class RepVGGBlock(Reparameterized):
    """ReLU(SE(sum of a 3x3 convolution, a 1x1 convolution, and the identity if shapes match)), a norm in each branch.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, groups: int, squeeze_excite: bool) -> None:
        super().__init__()
        self.nonlinearity = nn.ReLU()
        self.se = (
            SEBlock(out_channels, out_channels // 16, act=nn.ReLU(), gate=nn.Sigmoid()) if squeeze_excite else None
        )
        self.rbr_identity = BatchNorm2D(in_channels) if in_channels == out_channels and stride == 1 else None
        options: dict[str, Any] = {"stride": stride, "groups": groups, "act": None, "norm": {"layer": BatchNorm2D}}
        self.rbr_dense = ConvBNLayer(in_channels, out_channels, 3, **options)
        self.rbr_1x1 = ConvBNLayer(in_channels, out_channels, 1, **options)
        self.rbr_reparam: Conv2D | None = None

    def forward(self, x):
        fused = self.forward_fused(x)
        if fused is not None:
            return fused
        if self.rbr_reparam is not None:
            y = self.rbr_reparam(x)
        else:
            y = self.rbr_1x1(x, None if self.rbr_identity is None else self.rbr_identity(x))
            if self.se is None and is_plain(self.rbr_dense, ConvBNLayer):
                return conv_norm_act(self.rbr_dense.conv, self.rbr_dense.bn, self.nonlinearity, x, y)
            y = self.rbr_dense(x, y)
        return activate(self.nonlinearity, y if self.se is None else self.se(y))

    def forward_fused(self, x):
        """Return the output in training, computed by one native operator; None if that is not supported."""
        if self.rbr_reparam is not None or self.se is not None or not is_plain(self.nonlinearity, nn.ReLU):
            return None
        if not (is_plain(self.rbr_dense, ConvBNLayer) and is_plain(self.rbr_1x1, ConvBNLayer)):
            return None
        return repvgg_branches(self.rbr_dense.parts, self.rbr_1x1.parts, self.rbr_identity, x)

    def fuse(self) -> None:
        if self.rbr_reparam is not None:
            return
        dense = self.rbr_dense.conv
        fused = [
            fuse_norm(dense.weight, self.rbr_dense.bn),
            fuse_norm(pad_kernel(self.rbr_1x1.conv.weight, 3), self.rbr_1x1.bn),
        ]
        if self.rbr_identity is not None:
            options = conv_options(dense)
            fused.append(fuse_norm(identity_kernel(options.in_channels, options.groups, 3), self.rbr_identity))
        kernel, bias = (sum(values) for values in zip(*fused, strict=True))
        self.rbr_reparam = fused_convolution(dense, kernel, bias, self.rbr_dense.bn.bias.name)
        self.rbr_identity = None
        del self.rbr_dense, self.rbr_1x1


class RepVGG(Classifier):
    """RepVGG.

    Args:
        class_num: number of classes.
        structure: depths, widths and groups.

    Shape: N x 3 x H x W (224 x 224 natively; D2se 320 x 320) to N x class_num.
    """

    head_layers = ("linear",)
    derived_entries = ("*rbr_reparam.*",)

    def __init__(self, class_num: int = 1000, *, structure: Structure) -> None:
        super().__init__()
        options = {"squeeze_excite": structure.squeeze_excite}
        channels = min(64, int(64 * structure.width))
        self.stage0 = RepVGGBlock(3, channels, stride=2, groups=1, **options)
        layer = 1
        for index, (width, depth) in enumerate(zip(WIDTHS, structure.depths, strict=True)):
            out_channels = int(width * (structure.last_width if index == 3 else structure.width))
            blocks = []
            for number in range(depth):
                is_grouped = layer % 2 == 0 and layer <= LAST_GROUPED_LAYER
                groups = structure.groups if is_grouped else 1
                blocks.append(RepVGGBlock(channels, out_channels, stride=1 if number else 2, groups=groups, **options))
                channels, layer = out_channels, layer + 1
            self.add_sublayer(f"stage{index + 1}", nn.Sequential(*blocks))
            self.feature_layers[4 * 2**index] = f"stage{index + 1}"
        self.gap = AdaptiveAvgPool2D(1)
        self.linear = Linear(channels, class_num)

    def forward_features(self, x):
        for index in range(5):
            x = self._sub_layers[f"stage{index}"](x)
        return x

    def forward_head(self, features):
        return self.linear(self.gap(features).flatten(1))


# Published top-1 and top-5.
VARIANTS = {
    "A0": (0.7131, 0.9016),
    "A1": (0.738, 0.9146),
    "A2": (0.7571, 0.9264),
    "B0": (0.745, 0.9213),
    "B1": (0.7773, 0.9385),
    "B1g2": (0.7732, 0.9359),
    "B1g4": (0.7675, 0.9335),
    "B2": (0.7813, 0.941),
    "B2g4": (0.7881, 0.9448),
    "B3": (0.8031, 0.9517),
    "B3g4": (0.8005, 0.9502),
    "D2se": (0.8339, 0.9665),
}
BICUBIC = {"interpolation": "bicubic", "backend": "pil"}
# Image size and options of `ResizeImage`, if they are not 224 and {"resize_short": 256}.
PREPROCESSING = {
    "B3": (224, {"resize_short": 256, **BICUBIC}),
    "B3g4": (224, {"resize_short": 256, **BICUBIC}),
    "D2se": (320, {"resize_short": 320, **BICUBIC}),
}
for _name, _published in VARIANTS.items():
    _size, _resize = PREPROCESSING.get(_name, (224, {"resize_short": 256}))
    register_variant(
        f"RepVGG_{_name}",
        RepVGG,
        structure=STRUCTURES[_name],
        image_shape=(3, _size, _size),
        weights=Weights(f"RepVGG_{_name}_pretrained.pdparams", *_published, img_size=_size, resize=_resize),
    )
