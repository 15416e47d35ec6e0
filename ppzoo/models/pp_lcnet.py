"""PP-LCNet: depthwise separable convolutions with hard swish, made for CPUs.

Cui, Gao, Wei, Du, Guo, Dong, Lu, Zhou, Lv, Liu, Hu, Yu, Ma: "PP-LCNet: A Lightweight CPU Convolutional Neural Network",
2021, arXiv:2109.15099, table 1 and section 3: hard swish instead of ReLU, squeeze-and-excitation and 5x5 kernels only
near the end, a 1280-channel layer after the pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from paddle import nn

from ppzoo.errors import ConfigError
from ppzoo.layers import (
    ConvSqueezeExcite,
    KaimingConvBNLayer,
    SeparableBlock,
    SeparableBlocks,
    WideHeadClassifier,
    make_divisible,
)
from ppzoo.models.catalog import Weights, register_variant


class Block(NamedTuple):
    """One row of table 1: kernel size, output channels, stride, squeeze-and-excitation."""

    kernel_size: int
    out: int
    stride: int
    squeeze_excite: bool = False


STEM = 16
# Stage -> its rows. In all stages but the first, the stride of the first row is replaced by that of `stride_list`.
STAGES = {
    "blocks2": [Block(3, 32, 1)],
    "blocks3": [Block(3, 64, 2), Block(3, 64, 1)],
    "blocks4": [Block(3, 128, 2), Block(3, 128, 1)],
    "blocks5": [Block(3, 256, 2), *[Block(5, 256, 1)] * 5],
    "blocks6": [Block(5, 512, 2, True), Block(5, 512, 1, True)],
}
Activation = Literal["hardswish", "relu", "relu6"]
Stride = int | list[int]


class DepthwiseSeparable(SeparableBlock):
    """Depthwise convolution, squeeze-and-excitation, 1x1 convolution.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self, in_channels: int, out_channels: int, row: Block, *, stride: tuple[int, int], act: str, lr_mult: float
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"act": act, "lr_mult": lr_mult}
        self.dw_conv = KaimingConvBNLayer(
            in_channels, in_channels, row.kernel_size, stride=stride, groups=in_channels, **options
        )
        self.se = (
            ConvSqueezeExcite(in_channels, in_channels // 4, act=nn.ReLU(), gate=nn.Hardsigmoid(), lr_mult=lr_mult)
            if row.squeeze_excite
            else None
        )
        self.pw_conv = KaimingConvBNLayer(in_channels, out_channels, 1, **options)

    @property
    def layers(self) -> list[nn.Layer]:
        return [layer for layer in (self.dw_conv, self.se, self.pw_conv) if layer is not None]


class PPLCNet(WideHeadClassifier):
    """PP-LCNet.

    Args:
        class_num: number of classes.
        scale: width multiplier of all layers but `last_conv`; scaled channel counts are rounded to multiples of 8.
        dropout_prob: rate of the dropout after `last_conv` (see `layers.downscaled_dropout`).
        class_expand: channels of `last_conv`.
        lr_mult_list: factors of the learning rate of the stem and of the five stages.
        stride_list: strides of the stem and of the first block of the last four stages; a stride is a number or
            [vertical, horizontal].
        use_last_conv: whether there is a 1x1 convolution between the pooling and the linear layer.
        act: the activation.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    def __init__(
        self,
        class_num: int = 1000,
        *,
        scale: float = 1.0,
        dropout_prob: float = 0.2,
        class_expand: int = 1280,
        lr_mult_list: tuple[float, ...] = (1.0,) * 6,
        stride_list: tuple[Stride, ...] = (2,) * 5,
        use_last_conv: bool = True,
        act: Activation = "hardswish",
    ) -> None:
        super().__init__()
        factors, strides = _checked("lr_mult_list", lr_mult_list, 6), _checked("stride_list", stride_list, 5)
        channels, first, total_stride = make_divisible(STEM * scale), _pair(strides[0]), _pair(strides[0])[0]
        self.conv1 = KaimingConvBNLayer(3, channels, 3, stride=first, act=act, lr_mult=factors[0])
        for index, (stage, rows) in enumerate(STAGES.items()):
            blocks = []
            for number, row in enumerate(rows):
                stride = _pair(strides[index] if index and number == 0 else row.stride)
                out_channels = make_divisible(row.out * scale)
                options = {"stride": stride, "act": act, "lr_mult": factors[index + 1]}
                blocks.append(DepthwiseSeparable(channels, out_channels, row, **options))
                channels, total_stride = out_channels, total_stride * stride[0]
            setattr(self, stage, SeparableBlocks(*blocks))
            if total_stride >= 4:
                self.feature_layers[total_stride] = stage
        self.build_head(
            channels,
            class_num,
            use_last_conv=use_last_conv,
            class_expand=class_expand,
            dropout_prob=dropout_prob,
            act=act,
        )

    def forward_features(self, x):
        x = self.conv1(x)
        for stage in STAGES:
            x = self._sub_layers[stage](x)
        return x


def _pair(stride: Stride) -> tuple[int, int]:
    """Return vertical and horizontal stride."""
    vertical, horizontal = (stride, stride) if isinstance(stride, int) else stride
    return vertical, horizontal


def _checked(option: str, values: Sequence[Any], count: int) -> Sequence[Any]:
    if len(values) != count:
        raise ConfigError(f"{option}: expected a list of {count} values, got {list(values)}")
    return values


# Scale; published top-1 and top-5; top-1 with SSLD.
VARIANTS = {
    "PPLCNet_x0_25": (0.25, (0.5186, 0.7565), None),
    "PPLCNet_x0_35": (0.35, (0.5809, 0.8083), None),
    "PPLCNet_x0_5": (0.5, (0.6314, 0.8466), 0.661),
    "PPLCNet_x0_75": (0.75, (0.6818, 0.883), None),
    "PPLCNet_x1_0": (1.0, (0.7132, 0.9003), 0.744),
    "PPLCNet_x1_5": (1.5, (0.7371, 0.9153), None),
    "PPLCNet_x2_0": (2.0, (0.7518, 0.9227), None),
    "PPLCNet_x2_5": (2.5, (0.766, 0.93), 0.808),
}
for _name, (_scale, _published, _ssld) in VARIANTS.items():
    _file = f"legendary_models/{_name}"
    register_variant(
        _name,
        PPLCNet,
        scale=_scale,
        weights=Weights(f"{_file}_pretrained.pdparams", *_published),
        ssld=Weights(f"{_file}_ssld_pretrained.pdparams", _ssld) if _ssld else None,
    )
