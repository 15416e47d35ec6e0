"""MobileNetV4: universal inverted bottlenecks and, in the hybrid networks, mobile multi-query attention.

Qin, Leichner, Delakis, Fornoni, Luo, Yang, Wang, Banbury, Ye, Akin, Aggarwal, Zhu, Moro, Howard: "MobileNetV4:
Universal Models for the Mobile Ecosystem", ECCV 2024, arXiv:2404.10518, sections 4 (universal inverted bottleneck)
and 5 (attention); the variants are in the appendix. As in PaddleClas, the attention scores are divided by the square
root of the width of all heads together, and not of the width of one head.

Unlike in PaddleClas, stochastic depth applies to blocks with a shortcut only, and `drop_rate` has an effect.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, nn

from ppzoo import layers
from ppzoo.layers import (
    AdaptiveAvgPool2D,
    Classifier,
    Conv2D,
    Linear,
    StochasticDepth,
    add,
    batch_norm,
    dropout,
    use_twice,
)
from ppzoo.models.catalog import Weights, register_variant


class Conv(NamedTuple):
    """A convolution: output channels, kernel size, stride."""

    out: int
    kernel_size: int
    stride: int = 1


class Fused(NamedTuple):
    """A fused inverted bottleneck: output channels, expanded channels, kernel size of the expansion, stride."""

    out: int
    expanded: int
    kernel_size: int
    stride: int


class Universal(NamedTuple):
    """A universal inverted bottleneck: output and expanded channels, kernel sizes (0: none), stride.

    Attributes:
        start: kernel size of the depthwise convolution before the expansion.
        mid: kernel size of the depthwise convolution after the expansion.
    """

    out: int
    expanded: int
    start: int
    mid: int
    stride: int = 1


class Attention(NamedTuple):
    """Multi-query attention: channels, heads, channels per head, stride of keys and values."""

    out: int
    heads: int
    width: int
    kv_stride: int


Row = Conv | Fused | Universal | Attention

CONV_SMALL: list[Row] = [
    Conv(32, 3, 2),
    Conv(32, 1),
    Conv(96, 3, 2),
    Conv(64, 1),
    Universal(96, 192, 5, 5, 2),
    *[Universal(96, 192, 0, 3)] * 4,
    Universal(96, 384, 3, 0),
    Universal(128, 576, 3, 3, 2),
    Universal(128, 512, 5, 5),
    Universal(128, 512, 0, 5),
    Universal(128, 384, 0, 5),
    *[Universal(128, 512, 0, 3)] * 2,
    Conv(960, 1),
]
CONV_MEDIUM: list[Row] = [
    Fused(48, 128, 3, 2),
    Universal(80, 192, 3, 5, 2),
    Universal(80, 160, 3, 3),
    Universal(160, 480, 3, 5, 2),
    *[Universal(160, 640, 3, 3)] * 2,
    Universal(160, 640, 3, 5),
    Universal(160, 640, 3, 3),
    Universal(160, 640, 3, 0),
    Universal(160, 320, 0, 0),
    Universal(160, 640, 3, 0),
    Universal(256, 960, 5, 5, 2),
    Universal(256, 1024, 5, 5),
    *[Universal(256, 1024, 3, 5)] * 2,
    Universal(256, 1024, 0, 0),
    Universal(256, 1024, 3, 0),
    Universal(256, 512, 3, 5),
    Universal(256, 1024, 5, 5),
    *[Universal(256, 1024, 0, 0)] * 2,
    Universal(256, 512, 5, 0),
    Conv(960, 1),
]
LARGE_START: list[Row] = [
    Fused(48, 96, 3, 2),
    Universal(96, 192, 3, 5, 2),
    Universal(96, 384, 3, 3),
    Universal(192, 384, 3, 5, 2),
    *[Universal(192, 768, 3, 3)] * 3,
    Universal(192, 768, 3, 5),
    *[Universal(192, 768, 5, 3)] * 2,
]
LARGE_LAST_STAGE: list[Row] = [
    Universal(512, 768, 5, 5, 2),
    *[Universal(512, 2048, 5, 5)] * 3,
    Universal(512, 2048, 5, 0),
    Universal(512, 2048, 5, 3),
    *[Universal(512, 2048, 5, 0)] * 2,
    Universal(512, 2048, 5, 3),
    Universal(512, 2048, 5, 5),
]
CONV_LARGE: list[Row] = [
    *LARGE_START,
    *[Universal(192, 768, 5, 3)] * 3,
    Universal(192, 768, 3, 0),
    *LARGE_LAST_STAGE,
    *[Universal(512, 2048, 5, 0)] * 3,
    Conv(960, 1),
]
MEDIUM_STRIDED: list[Row] = [
    Attention(160, 4, 64, 2),
    Universal(160, 640, 3, 3),
    Attention(160, 4, 64, 2),
    Universal(160, 640, 3, 0),
]
MEDIUM_LAST: list[Row] = [Attention(256, 4, 64, 1), Universal(256, 1024, 5, 0)]
HYBRID_MEDIUM: list[Row] = [
    Fused(48, 128, 3, 2),
    Universal(80, 192, 3, 5, 2),
    Universal(80, 160, 3, 3),
    Universal(160, 480, 3, 5, 2),
    Universal(160, 320, 0, 0),
    Universal(160, 640, 3, 3),
    Universal(160, 640, 3, 5),
    *MEDIUM_STRIDED * 2,
    Universal(256, 960, 5, 5, 2),
    Universal(256, 1024, 5, 5),
    *[Universal(256, 1024, 3, 5)] * 2,
    Universal(256, 512, 0, 0),
    Universal(256, 512, 3, 5),
    Universal(256, 512, 0, 0),
    Universal(256, 1024, 0, 0),
    Attention(256, 4, 64, 1),
    Universal(256, 1024, 3, 0),
    Attention(256, 4, 64, 1),
    Universal(256, 1024, 5, 5),
    *MEDIUM_LAST * 2,
    Conv(960, 1),
]
LARGE_STRIDED: list[Row] = [Attention(192, 8, 48, 2), Universal(192, 768, 5, 3)]
LARGE_LAST: list[Row] = [Attention(512, 8, 64, 1), Universal(512, 2048, 5, 0)]
HYBRID_LARGE: list[Row] = [
    *LARGE_START,
    *LARGE_STRIDED * 3,
    Attention(192, 8, 48, 2),
    Universal(192, 768, 3, 0),
    *LARGE_LAST_STAGE,
    *LARGE_LAST * 4,
    Conv(960, 1),
]
LAST = 1280


class ConvBnAct(layers.ConvBNLayer):
    """Convolution, batch norm whose scale and offset have no weight decay, activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options) -> None:
        super().__init__(in_channels, out_channels, kernel_size, norm={"decay": False}, **options)


class LayerScale2D(nn.Layer):
    """Multiply each channel by a learned number: Touvron et al., arXiv:2103.17239, section 2."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        # The parameter name that `paddle.create_parameter` would generate.
        name = paddle.utils.unique_name.generate("create_parameter") + ".w_0"
        attribute = ParamAttr(name=name, initializer=nn.initializer.Constant(start))
        self.gamma = self.create_parameter([channels], attr=attribute)

    def forward(self, x):
        return x * self.gamma.reshape([1, -1, 1, 1])


class Branch(nn.Layer):
    """Base class of the blocks: input + layer_scale(branch(input)), with stochastic depth; some have no shortcut."""

    def finish(self, shortcut: bool, out_channels: int, layer_scale: float, drop_path_rate: float) -> None:
        """Add the layers after the branch; called last, because the order determines the parameter names."""
        self.shortcut = shortcut
        self.layer_scale = LayerScale2D(out_channels, layer_scale) if layer_scale else None
        self.add_branch = StochasticDepth(drop_path_rate)

    def branch(self, x, residual=None):
        """Return the output of the branch, plus `residual` unless that is None."""
        raise NotImplementedError(f"{type(self).__name__} must define branch")

    def forward(self, x):
        x, shortcut = use_twice(x) if self.shortcut else (x, None)
        if self.layer_scale is None and self.add_branch.rate == 0:
            return self.branch(x, shortcut)
        y = self.branch(x)
        y = y if self.layer_scale is None else self.layer_scale(y)
        return y if shortcut is None else self.add_branch(shortcut, y)


class EdgeResidual(Branch):
    """Fused inverted bottleneck: a KxK expansion, a linear 1x1 projection."""

    def __init__(self, in_channels: int, row: Fused, *, act: str, drop_path_rate: float) -> None:
        super().__init__()
        self.conv_exp = ConvBnAct(in_channels, row.expanded, row.kernel_size, stride=row.stride, act=act)
        self.conv_pwl = ConvBnAct(row.expanded, row.out, 1, act=None)
        self.finish(row.stride == 1 and in_channels == row.out, row.out, 0.0, drop_path_rate)

    def branch(self, x, residual=None):
        return self.conv_pwl(self.conv_exp(x), residual)


class UniversalInvertedResidual(Branch):
    """Depthwise convolution, 1x1 expansion, depthwise convolution, linear 1x1 projection; depthwise ones are optional.

    Shape: N x in_channels x H x W to N x row.out x H/stride x W/stride.
    """

    def __init__(
        self, in_channels: int, row: Universal, *, act: str, layer_scale: float, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.dw_start = (
            ConvBnAct(in_channels, in_channels, row.start, groups=in_channels, act=None) if row.start else None
        )
        self.pw_exp = ConvBnAct(in_channels, row.expanded, 1, act=act)
        self.dw_mid = (
            ConvBnAct(row.expanded, row.expanded, row.mid, stride=row.stride, groups=row.expanded, act=act)
            if row.mid
            else None
        )
        self.pw_proj = ConvBnAct(row.expanded, row.out, 1, act=None)
        self.finish(row.stride == 1 and in_channels == row.out, row.out, layer_scale, drop_path_rate)

    def branch(self, x, residual=None):
        y = x if self.dw_start is None else self.dw_start(x)
        if self.dw_mid is None:
            return self.pw_proj(self.pw_exp(y), residual)
        shortcut = residual is not None
        if self.dw_start is None:
            return layers.inverted_residual(self.pw_exp, self.dw_mid, self.pw_proj, y, shortcut=shortcut)
        y = layers.inverted_residual(self.pw_exp, self.dw_mid, self.pw_proj, y)
        return add(y, residual) if shortcut else y


class MobileAttention(Branch):
    """Multi-query attention: all heads share the keys and values, which can have a lower resolution.

    Shape: N x row.out x H x W to the same.
    """

    def __init__(self, row: Attention, *, layer_scale: float, drop_path_rate: float) -> None:
        super().__init__()
        channels, query_width = row.out, row.heads * row.width
        self.heads, self.width, self.scale = row.heads, row.width, query_width**-0.5
        self.norm = batch_norm(channels, decay=False)
        self.query_proj = Conv2D(channels, query_width, 1, bias_attr=False)
        self.has_stride = row.kv_stride > 1
        if self.has_stride:
            options = {"stride": row.kv_stride, "groups": channels, "act": None}
            self.key_down_proj = ConvBnAct(channels, channels, 3, **options)
            self.value_down_proj = ConvBnAct(channels, channels, 3, **options)
        self.key_proj = Conv2D(channels, row.width, 1, bias_attr=False)
        self.value_proj = Conv2D(channels, row.width, 1, bias_attr=False)
        self.proj = Conv2D(query_width, channels, 1, bias_attr=False)
        self.finish(True, channels, layer_scale, drop_path_rate)

    def branch(self, x, residual=None):
        x = self.norm(x)
        keys, values = (self.key_down_proj(x), self.value_down_proj(x)) if self.has_stride else (x, x)
        queries = self.query_proj(x)
        height, width = queries.shape[2:]
        is_fixed = min(height, width) > 0  # in a program that is exported, a size can be -1
        # N x heads x width x HW; N x 1 x width x hw for keys and values, which are shared by the heads.
        q = queries.reshape([0, self.heads, self.width, height * width if is_fixed else -1])
        k = self.key_proj(keys).flatten(2).unsqueeze(1)
        v = self.value_proj(values).flatten(2).unsqueeze(1)
        scores = F.softmax(paddle.matmul(q * self.scale, k, transpose_x=True), axis=-1)  # N x heads x HW x hw
        mixed = paddle.matmul(v, scores, transpose_y=True)  # N x heads x width x HW
        shape = [0, self.heads * self.width, height, width] if is_fixed else paddle.shape(queries)
        y = self.proj(mixed.reshape(shape))
        return y if residual is None else add(y, residual)


class MobileNetV4(Classifier):
    """MobileNetV4.

    Args:
        class_num: number of classes.
        table: the blocks.
        inplanes: channels of the stem.
        act: name of the activation.
        layer_scale: initial value of `LayerScale2D` in all blocks but the fused ones; 0: no such layers.
        drop_rate: rate of the dropout before the linear layer.
        drop_path_rate: upper end of the rates of stochastic depth: row i of n (0 to n - 1) has drop_path_rate * i / n.

    Shape: N x 3 x H x W to N x class_num.
    """

    head_layers = ("classifier",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        table: list[Row],
        inplanes: int = 32,
        act: str = "relu",
        layer_scale: float = 0.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        channels, total_stride = inplanes, 2
        self.conv_stem = ConvBnAct(3, channels, 3, stride=2, act=act)
        self.blocks = nn.Sequential()
        for number, row in enumerate(table):
            rate = drop_path_rate * number / len(table)
            self.blocks.add_sublayer(str(number), _block(channels, row, act, layer_scale, rate))
            channels, total_stride = row.out, total_stride * getattr(row, "stride", 1)
            self.feature_layers[total_stride] = f"blocks.{number}"
        self.global_pool = AdaptiveAvgPool2D(1)
        self.conv_head = ConvBnAct(channels, LAST, 1, act=act)
        self.dropout = dropout(drop_rate)
        self.classifier = Linear(LAST, class_num)

    def forward_features(self, x):
        return self.blocks(self.conv_stem(x))

    def forward_head(self, features):
        return self.classifier(self.dropout(self.conv_head(self.global_pool(features)).flatten(1)))


def _block(channels: int, row: Row, act: str, layer_scale: float, rate: float) -> nn.Layer:
    """Build the block of a row; convolutions have neither a shortcut nor stochastic depth."""
    if isinstance(row, Conv):
        return ConvBnAct(channels, row.out, row.kernel_size, stride=row.stride, act=act)
    if isinstance(row, Fused):
        return EdgeResidual(channels, row, act=act, drop_path_rate=rate)
    if isinstance(row, Universal):
        return UniversalInvertedResidual(channels, row, act=act, layer_scale=layer_scale, drop_path_rate=rate)
    return MobileAttention(row, layer_scale=layer_scale, drop_path_rate=rate)


HYBRID: dict[str, Any] = {"layer_scale": 1e-5}
# Table and arguments; image size in evaluation; published top-1 and top-5.
VARIANTS: dict[str, tuple[list[Row], dict[str, Any], int, tuple[float, float]]] = {
    "MobileNetV4_conv_small": (CONV_SMALL, {}, 256, (0.746, 0.921)),
    "MobileNetV4_conv_medium": (CONV_MEDIUM, {}, 320, (0.799, 0.952)),
    "MobileNetV4_conv_large": (CONV_LARGE, {"inplanes": 24}, 448, (0.834, 0.966)),
    "MobileNetV4_hybrid_medium": (HYBRID_MEDIUM, HYBRID, 256, (0.805, 0.954)),
    "MobileNetV4_hybrid_large": (HYBRID_LARGE, {"inplanes": 24, "act": "gelu", **HYBRID}, 448, (0.838, 0.967)),
}
for _name, (_table, _fixed, _size, _published) in VARIANTS.items():
    register_variant(
        _name,
        MobileNetV4,
        table=_table,
        image_shape=(3, _size, _size),
        weights=Weights(
            f"legendary_models/{_name}_pretrained.pdparams",
            *_published,
            img_size=_size,
            resize={"resize_short": _size, "interpolation": "bicubic", "backend": "pil"},
        ),
        **_fixed,
    )
