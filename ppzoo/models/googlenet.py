"""GoogLeNet: inception blocks with parallel 1x1, 3x3 and 5x5 convolutions.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: "Going Deeper with Convolutions", CVPR 2015,
arXiv:1409.4842, table 1 and section 5 (the auxiliary heads). This is PaddleClas's network, which the official weights
require. It differs from the paper: an inception block has one ReLU after the concatenation instead of one after each
convolution; the convolutions outside the blocks and the second auxiliary head have no ReLU; only the linear layers have
a bias; there is no local response normalization; and the pooling outside the blocks has no padding (maps of 55, 27, 13
and 6 pixels where the paper has 56, 28, 14 and 7).

The network for CIFAR's 32 x 32 pixels is the widespread variant: a 3x3 stem without pooling, convolutions with bias and
batch norm (Ioffe, Szegedy, ICML 2015, arXiv:1502.03167), two 3x3 convolutions in place of a 5x5 (appendix of the batch
norm paper), and no auxiliary heads.
"""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import nn

from ppzoo.layers import (
    AdaptiveAvgPool2D,
    AvgPool2D,
    BiasedConvBNLayer,
    Classifier,
    Linear,
    MaxPool2D,
    bias_attr,
    concat,
    convolution,
    downscaled_dropout,
    not_to_static,
    relu,
    weight_attr,
)
from ppzoo.models.catalog import Weights, register_variant

# Block -> channels of the 1x1, the 3x3's reduction, the 3x3, the 5x5's reduction, the 5x5, the pool's projection:
# table 1 of the paper. Max pooling halves the map before 4a and 5a.
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
STEM_CHANNELS = 192
LAST_CHANNELS = 1024


class ConvLayer(nn.Layer):
    """Convolution without bias.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, name: str) -> None:
        super().__init__()
        self._conv = convolution(in_channels, out_channels, kernel_size, stride=stride, bias=False, name=name)

    def forward(self, x):
        return self._conv(x)


class ConvBNReLU(BiasedConvBNLayer):
    """Convolution with bias, batch norm, ReLU; explicit parameter names."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, name: str) -> None:
        super().__init__(in_channels, out_channels, kernel_size, name=name, norm_name=f"{name}_bn")


class Inception(nn.Layer):
    """Four parallel branches, concatenated, then ReLU (figure 2b of the paper).

    Args:
        in_channels: channels of the input.
        widths: the block's entry in `BLOCKS`.
        unit: builds a convolution from the numbers of channels, the kernel size and a name.
        factorize_5x5: whether two 3x3 units replace the 5x5.

    Shape: N x in_channels x H x W to N x out_channels x H x W.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, int, int, int, int, int],
        *,
        unit: Callable[..., nn.Layer],
        factorize_5x5: bool,
        name: str,
    ) -> None:
        super().__init__()
        one, reduce_three, three, reduce_five, five, projection = widths
        self.out_channels = one + three + five + projection
        self._conv1 = unit(in_channels, one, 1, name=f"{name}_1x1")
        self._conv3r = unit(in_channels, reduce_three, 1, name=f"{name}_3x3_reduce")
        self._conv3 = unit(reduce_three, three, 3, name=f"{name}_3x3")
        self._conv5r = unit(in_channels, reduce_five, 1, name=f"{name}_5x5_reduce")
        if factorize_5x5:
            self._conv5 = nn.Sequential(
                unit(reduce_five, five, 3, name=f"{name}_5x5_1"), unit(five, five, 3, name=f"{name}_5x5_2")
            )
        else:
            self._conv5 = unit(reduce_five, five, 5, name=f"{name}_5x5")
        self._pool = MaxPool2D(3, stride=1, padding=1)
        self._convprj = unit(in_channels, projection, 1, name=f"{name}_3x3_proj")

    def forward(self, x):
        branches = [
            self._conv1(x),
            self._conv3(self._conv3r(x)),
            self._conv5(self._conv5r(x)),
            self._convprj(self._pool(x)),
        ]
        return relu(concat(branches))


class InceptionNet(Classifier):
    """The nine inception blocks; a subclass adds stem and head."""

    def add_blocks(self, *, unit: Callable[..., nn.Layer], factorize_5x5: bool) -> None:
        channels = STEM_CHANNELS
        for label, widths in BLOCKS.items():
            name = f"inception_ince{label}"
            block = Inception(channels, widths, unit=unit, factorize_5x5=factorize_5x5, name=name)
            self.add_sublayer(f"_ince{label}", block)
            channels = block.out_channels

    def stem(self, x: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define stem")

    def block_maps(self, x: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Return the output of each block for images."""
        x = self.stem(x)
        maps = {}
        for label in BLOCKS:
            if label in ("4a", "5a"):
                x = self._pool(x)
            x = self._sub_layers[f"_ince{label}"](x)
            maps[label] = x
        return maps

    def forward_features(self, x):
        return self.block_maps(x)["5b"]


class GoogLeNetDY(InceptionNet):
    """GoogLeNet for ImageNet.

    Args:
        class_num: number of classes.
        dropout: rate of the dropout before the last linear layer.
        auxiliary_dropout: rate of the dropout before the last linear layer of each auxiliary head.

    Shape: N x 3 x 224 x 224 to a list of three tensors N x class_num: the logits of the network, of the auxiliary head
    on block 4a and of the one on 4d, in evaluation as well. `forward_head` returns the logits of the network only.
    """

    outputs = 3

    head_layers = ("_fc_out", "_out1", "_out2")

    def __init__(self, class_num: int = 1000, *, dropout: float = 0.4, auxiliary_dropout: float = 0.7) -> None:
        super().__init__()
        self._conv = ConvLayer(3, 64, 7, stride=2, name="conv1")
        self._pool = MaxPool2D(3, stride=2)
        self._conv_1 = ConvLayer(64, 64, 1, name="conv2_1x1")
        self._conv_2 = ConvLayer(64, STEM_CHANNELS, 3, name="conv2_3x3")
        self.add_blocks(unit=ConvLayer, factorize_5x5=False)
        self.feature_layers = {4: "_conv_2", 8: "_ince3b", 16: "_ince4e", 32: "_ince5b"}

        self._pool_5 = AdaptiveAvgPool2D(1)
        self._drop = downscaled_dropout(dropout)
        self._fc_out = self.linear(LAST_CHANNELS, class_num, "out")

        for number, label in ((1, "4a"), (2, "4d")):
            channels = self._sub_layers[f"_ince{label}"].out_channels
            self.add_sublayer(f"_pool_o{number}", AvgPool2D(5, stride=3))
            self.add_sublayer(f"_conv_o{number}", ConvLayer(channels, 128, 1, name=f"conv_o{number}"))
            # PaddleClas initializes by the paper's fan-in: maps of 4 x 4 pixels have 128 * 4 * 4 = 2048 values.
            self.add_sublayer(f"_fc_o{number}", self.linear(128 * 3 * 3, 1024, f"fc_o{number}", fan_in=2048))
            self.add_sublayer(f"_drop_o{number}", downscaled_dropout(auxiliary_dropout))
            self.add_sublayer(f"_out{number}", self.linear(1024, class_num, f"out{number}"))

    @staticmethod
    def linear(in_features: int, out_features: int, name: str, fan_in: int | None = None) -> Linear:
        """Build a linear layer whose weight is uniform within sqrt(3 / fan_in), of standard deviation 1 / sqrt(fan_in).

        Args:
            fan_in: by default `in_features`.
        """
        fan = fan_in or in_features
        initial = nn.initializer.XavierUniform(fan_in=fan, fan_out=fan)
        return Linear(in_features, out_features, weight_attr(name, initializer=initial), bias_attr(name))

    def stem(self, x):
        x = self._pool(self._conv(x))
        return self._pool(self._conv_2(self._conv_1(x)))

    def forward_head(self, features):
        return self._fc_out(self._drop(self._pool_5(features)).flatten(1))

    def first_auxiliary(self, x):
        x = relu(self._fc_o1(self._conv_o1(self._pool_o1(x)).flatten(1)))
        return self._out1(self._drop_o1(x))

    def second_auxiliary(self, x):
        x = self._fc_o2(self._conv_o2(self._pool_o2(x)).flatten(1))
        return self._out2(self._drop_o2(x))

    @not_to_static
    def forward(self, x):
        maps = self.block_maps(x)
        return [self.forward_head(maps["5b"]), self.first_auxiliary(maps["4a"]), self.second_auxiliary(maps["4d"])]


class GoogLeNetCifar(InceptionNet):
    """GoogLeNet for CIFAR.

    Args:
        class_num: number of classes.

    Shape: N x 3 x H x W (32 x 32 natively) to N x class_num.
    """

    head_layers = ("_fc_out",)

    def __init__(self, class_num: int = 10) -> None:
        super().__init__()
        self._conv = ConvBNReLU(3, STEM_CHANNELS, 3, name="conv1")
        self._pool = MaxPool2D(3, stride=2, padding=1)
        self.add_blocks(unit=ConvBNReLU, factorize_5x5=True)
        self.feature_layers = {2: "_ince4e", 4: "_ince5b"}
        self._pool_5 = AdaptiveAvgPool2D(1)
        self._fc_out = Linear(LAST_CHANNELS, class_num)

    def stem(self, x):
        return self._conv(x)

    def forward_head(self, features):
        return self._fc_out(self._pool_5(features).flatten(1))


register_variant(
    "GoogLeNet",
    GoogLeNetDY,
    weights=Weights("GoogLeNet_pretrained.pdparams", top1=0.707, top5=0.8966, flops=1.44, params=11.54),
)
register_variant("GoogLeNet_cifar", GoogLeNetCifar, image_shape=(3, 32, 32))
