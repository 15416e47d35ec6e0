"""DenseNet: every layer of a block receives the feature maps of all preceding layers.

Huang, Liu, van der Maaten, Weinberger: "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993,
table 1 and section 3. The networks for ImageNet are DenseNet-BC: bottlenecks before the 3x3 convolutions and
transitions that halve the channels. DenseNet161, with growth rate 48, is in the authors' repository and in the table
of earlier versions of the paper; DenseNet264 replaces it in the last version.

`DenseNet_plain` is a widespread small variant without bottlenecks (DenseNet-C): four blocks of four layers, and
convolutions with bias, where the paper has none.
"""

from __future__ import annotations

from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BiasedConvBNLayer,
    Classifier,
    MaxPool2D,
    NamedConvBNLayer,
    batch_norm,
    concat,
    convolution,
    downscaled_dropout,
    norm_act,
    uniform_linear,
)
from ppzoo.models.catalog import Weights, register_variant

# Depth -> growth rate k and layers in each of the four blocks: table 1 of the paper. The stem has 2k channels.
STAGES = {
    121: (32, (6, 12, 24, 16)),
    161: (48, (6, 12, 36, 24)),
    169: (32, (6, 12, 32, 32)),
    201: (32, (6, 12, 48, 32)),
    264: (32, (6, 12, 64, 48)),
}


class BNACConvLayer(nn.Layer):
    """Batch norm, ReLU, and a convolution that keeps the size.

    Shape: N x in_channels x H x W to N x out_channels x H x W.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool, name: str) -> None:
        super().__init__()
        self._batch_norm = batch_norm(in_channels, f"{name}_bn")
        self._conv = convolution(in_channels, out_channels, kernel_size, bias=bias, name=name)

    def forward(self, x):
        return self._conv(norm_act(self._batch_norm, "relu", x))


class DenseLayer(nn.Layer):
    """Composite function of section 3, whose `growth_rate` output channels are appended to the input.

    With `bn_size`, a 1x1 convolution to bn_size x growth_rate channels precedes the 3x3 convolution ("bottleneck").

    Shape: N x in_channels x H x W to N x (in_channels + growth_rate) x H x W.
    """

    def __init__(
        self, in_channels: int, growth_rate: int, *, bn_size: int | None, dropout: float, bias: bool, name: str
    ) -> None:
        super().__init__()
        if bn_size is not None:
            hidden = bn_size * growth_rate
            self.bn_ac_func1 = BNACConvLayer(in_channels, hidden, 1, bias=bias, name=f"{name}_x1")
            in_channels = hidden
        self.bn_ac_func2 = BNACConvLayer(in_channels, growth_rate, 3, bias=bias, name=f"{name}_x2")
        self.dropout_func = downscaled_dropout(dropout)

    def forward(self, x):
        y = x
        for layer in self.children():
            y = layer(y)
        return concat([x, y])


class DenseBlock(nn.Sequential):
    """Dense layers, each of which adds `growth_rate` channels.

    Shape: N x in_channels x H x W to N x (in_channels + depth growth_rate) x H x W.
    """

    def __init__(
        self,
        in_channels: int,
        depth: int,
        growth_rate: int,
        *,
        bn_size: int | None,
        dropout: float,
        bias: bool,
        name: str,
    ) -> None:
        super().__init__()
        for number in range(depth):
            layer_name = f"{name}_{number + 1}"
            layer = DenseLayer(
                in_channels + number * growth_rate,
                growth_rate,
                bn_size=bn_size,
                dropout=dropout,
                bias=bias,
                name=layer_name,
            )
            self.add_sublayer(layer_name, layer)


class TransitionLayer(nn.Layer):
    """Layer between two blocks: a 1x1 convolution to half the channels (compression 0.5), then 2x2 average pooling.

    Shape: N x in_channels x H x W to N x in_channels/2 x H/2 x W/2.
    """

    def __init__(self, in_channels: int, *, bias: bool, name: str) -> None:
        super().__init__()
        self.conv_ac_func = BNACConvLayer(in_channels, in_channels // 2, 1, bias=bias, name=name)
        self.pool2d_avg = AvgPool2D(2)

    def forward(self, x):
        return self.pool2d_avg(self.conv_ac_func(x))


class DenseNet(Classifier):
    """DenseNet.

    Args:
        class_num: number of classes.
        growth_rate: channels that each layer adds; the first convolution has twice as many.
        blocks: number of layers in each block.
        bn_size: channels of the bottlenecks divided by the growth rate; None: no bottlenecks.
        dropout: rate of the dropout after each layer.
        bias: whether the convolutions have biases.

    Shape: N x 3 x H x W (224 x 224 natively) to N x class_num.
    """

    head_layers = ("out",)

    def __init__(
        self,
        class_num: int = 1000,
        *,
        growth_rate: int,
        blocks: tuple[int, ...],
        bn_size: int | None = 4,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        conv_bn = BiasedConvBNLayer if bias else NamedConvBNLayer
        channels = 2 * growth_rate
        self.conv1_func = conv_bn(3, channels, 7, stride=2, name="conv1", norm_name="conv1_bn")
        self.pool2d_max = MaxPool2D(3, stride=2, padding=1)

        self.stage_names: list[str] = []
        for number, depth in enumerate(blocks, start=2):
            if number > 2:
                transition = TransitionLayer(channels, bias=bias, name=f"conv{number - 1}_blk")
                self._add_stage(f"tr_conv{number - 1}_blk", transition)
                channels //= 2
            block = DenseBlock(
                channels, depth, growth_rate, bn_size=bn_size, dropout=dropout, bias=bias, name=f"conv{number}"
            )
            self._add_stage(f"db_conv_{number}", block)
            channels += depth * growth_rate
        self.batch_norm = batch_norm(channels, "conv5_blk_bn", act="relu")
        self.feature_layers = {4: "db_conv_2", 8: "db_conv_3", 16: "db_conv_4", 32: "batch_norm"}

        self.pool2d_avg = AdaptiveAvgPool2D(1)
        self.out = uniform_linear(channels, class_num, "fc")

    def _add_stage(self, name: str, stage: nn.Layer) -> None:
        self.add_sublayer(name, stage)
        self.stage_names.append(name)

    def forward_features(self, x):
        x = self.pool2d_max(self.conv1_func(x))
        for name in self.stage_names:
            x = self._sub_layers[name](x)
        return self.batch_norm(x)

    def forward_head(self, features):
        return self.out(self.pool2d_avg(features).flatten(1))


for layers, top1, top5, flops, params in [
    (121, 0.7566, 0.9258, 2.87, 8.06),
    (161, 0.7857, 0.9414, 7.79, 28.90),
    (169, 0.7681, 0.9331, 3.40, 14.31),
    (201, 0.7763, 0.9366, 4.34, 20.24),
    (264, 0.7796, 0.9385, 5.82, 33.74),
]:
    growth_rate, blocks = STAGES[layers]
    register_variant(
        f"DenseNet{layers}",
        DenseNet,
        growth_rate=growth_rate,
        blocks=blocks,
        bias=False,
        weights=Weights(f"DenseNet{layers}_pretrained.pdparams", top1, top5, flops, params),
    )
register_variant("DenseNet_plain", DenseNet, growth_rate=32, blocks=(4, 4, 4, 4), bn_size=None, bias=True)
