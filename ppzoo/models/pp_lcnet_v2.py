"""PP-LCNetV2: PP-LCNet with re-parameterized depthwise convolutions, split 1x1 convolutions and shortcuts.

PaddleClas documentation, "PP-LCNetV2", 2022 (no article): in the last two stages, parallel depthwise convolutions of
sizes 5, 3 and 1, which are fused for inference; in the third stage, squeeze-and-excitation, and two 1x1 convolutions
(the first to half of the channels) instead of one; in the last stage, shortcuts; ReLU instead of hard swish. The stages
are those of PaddleClas 2.6.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from paddle import ParamAttr, nn

from ppzoo.layers import (
    Conv2D,
    ConvSqueezeExcite,
    KaimingConvBNLayer,
    Reparameterized,
    WideHeadClassifier,
    activate,
    add,
    fuse_norm,
    fused_convolution,
    make_divisible,
    pad_kernel,
)
from ppzoo.models.catalog import Weights, register_variant
from ppzoo.paddle_internals import conv_options


class Stage(NamedTuple):
    """Output channels, kernel size and options of the blocks of a stage.

    Attributes:
        split_pw: two 1x1 convolutions, the first with half of the output channels, instead of one.
        rep: several parallel depthwise convolutions instead of one.
    """

    out: int
    kernel_size: int
    split_pw: bool = False
    rep: bool = False
    squeeze_excite: bool = False
    shortcut: bool = False


STEM = 32, 64
STAGES = [
    Stage(128, 3),
    Stage(256, 3),
    Stage(512, 5, split_pw=True, rep=True, squeeze_excite=True),
    Stage(1024, 5, rep=True, shortcut=True),
]


class RepDepthwiseSeparable(Reparameterized):
    """Depthwise convolution (or several in parallel), squeeze-and-excitation, 1x1 convolution (or two).

    `dw_conv` of a block with parallel convolutions is not trained: `fuse` sets it, and then it replaces the others.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(self, in_channels: int, out_channels: int, stage: Stage, *, stride: int) -> None:
        super().__init__()
        size = stage.kernel_size
        depthwise: dict[str, Any] = {"stride": stride, "groups": in_channels}
        self.shortcut = stage.shortcut and stride == 1 and in_channels == out_channels
        self.is_fused = not stage.rep
        if stage.rep:
            sizes = [branch for branch in range(size, 0, -2) if branch > 1 or stride == 1]
            branches = [KaimingConvBNLayer(in_channels, in_channels, branch, act=None, **depthwise) for branch in sizes]
            self.dw_conv_list = nn.LayerList(branches)
            derived = {"weight_attr": ParamAttr(trainable=False), "bias_attr": ParamAttr(trainable=False)}
            self.dw_conv = Conv2D(in_channels, in_channels, size, padding=(size - 1) // 2, **depthwise, **derived)
        else:
            self.dw_conv = KaimingConvBNLayer(in_channels, in_channels, size, act=None, **depthwise)
        self.act = nn.ReLU()
        self.se = (
            ConvSqueezeExcite(in_channels, in_channels // 4, act=nn.ReLU(), gate=nn.Sigmoid())
            if stage.squeeze_excite
            else None
        )
        if stage.split_pw:
            self.pw_conv_1 = KaimingConvBNLayer(in_channels, out_channels // 2, 1)
            self.pw_conv_2 = KaimingConvBNLayer(out_channels // 2, out_channels, 1)
        else:
            self.pw_conv = KaimingConvBNLayer(in_channels, out_channels, 1)
        self.split_pw = stage.split_pw

    def forward(self, x):
        y = activate(self.act, self.dw_conv(x) if self.is_fused else self.sum_of_branches(x))
        y = y if self.se is None else self.se(y)
        y = self.pw_conv_2(self.pw_conv_1(y)) if self.split_pw else self.pw_conv(y)
        return add(y, x) if self.shortcut else y

    def sum_of_branches(self, x):
        first, *others = self.dw_conv_list
        y = first(x)
        for branch in others:
            y = branch(x, y)
        return y

    def fuse(self) -> None:
        if self.is_fused:
            return
        size = conv_options(self.dw_conv).kernel_size[0]
        fused = [fuse_norm(branch.conv.weight, branch.bn) for branch in self.dw_conv_list]
        kernel = sum(pad_kernel(branch_kernel, size) for branch_kernel, _ in fused)
        bias = sum(branch_bias for _, branch_bias in fused)
        self.dw_conv = fused_convolution(self.dw_conv, kernel, bias, self.dw_conv.bias.name)
        self.is_fused = True
        del self.dw_conv_list


class PPLCNetV2(WideHeadClassifier):
    """PP-LCNetV2.

    Args:
        class_num: number of classes.
        scale: width multiplier of all layers but `last_conv`; scaled channel counts are rounded to multiples of 8.
        depths: number of blocks of each stage.
        dropout_prob: rate of the dropout after `last_conv` (see `layers.downscaled_dropout`).
        use_last_conv: whether there is a 1x1 convolution between the pooling and the linear layer.
        class_expand: channels of `last_conv`.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(
        self,
        class_num: int = 1000,
        *,
        scale: float = 1.0,
        depths: list[int],
        dropout_prob: float = 0.2,
        use_last_conv: bool = True,
        class_expand: int = 1280,
    ) -> None:
        super().__init__()
        first, channels = (make_divisible(width * scale) for width in STEM)
        self.stem = nn.Sequential(
            KaimingConvBNLayer(3, first, 3, stride=2),
            RepDepthwiseSeparable(first, channels, Stage(channels, 3), stride=1),
        )
        self.stages = nn.LayerList()
        for index, (stage, depth) in enumerate(zip(STAGES, depths, strict=True)):
            blocks, out_channels = [], make_divisible(stage.out * scale)
            for number in range(depth):
                blocks.append(RepDepthwiseSeparable(channels, out_channels, stage, stride=1 if number else 2))
                channels = out_channels
            self.stages.append(nn.Sequential(*blocks))
            self.feature_layers[4 * 2**index] = f"stages.{index}"
        self.build_head(
            channels,
            class_num,
            use_last_conv=use_last_conv,
            class_expand=class_expand,
            dropout_prob=dropout_prob,
            act="relu",
        )

    def forward_features(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x


# Scale and depths; published top-1 and top-5.
VARIANTS = {
    "PPLCNetV2_small": (0.75, [2, 2, 4, 2], (None, None)),
    "PPLCNetV2_base": (1.0, [2, 2, 6, 2], (0.7704, 0.9327)),
    "PPLCNetV2_large": (1.25, [2, 2, 8, 2], (None, None)),
}
for _name, (_scale, _depths, _published) in VARIANTS.items():
    register_variant(
        _name,
        PPLCNetV2,
        scale=_scale,
        depths=_depths,
        weights=Weights(f"legendary_models/{_name}_pretrained.pdparams", *_published),
    )
