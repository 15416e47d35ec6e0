"""Residual blocks, where they stand, and the stem before them: what ResNet, its versions and the SE networks share.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385 (blocks: figure 5,
stages: table 1); He, Zhang, Zhang, Zhang, Xie, Li: "Bag of Tricks for Image Classification with Convolutional
Neural Networks", CVPR 2019, arXiv:1812.01187 (stem: figure 2b, pooled shortcut: figure 2c). As in the latter's
version B, a bottleneck that halves the size does so in its 3x3 convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from paddle import nn

from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.native_layers import AvgPool2D, add_relu
from ppzoo.layers.squeeze_excite import SELayer

# Depth of the network -> blocks in each of its four stages. 200 is from He et al., arXiv:1603.05027, appendix.
STAGE_DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}


@dataclass(frozen=True)
class BlockPlace:
    """Where a block stands in a network, and the sizes that follow from it.

    Attributes:
        stage: number of the stage, from 0.
        index: number of the block in its stage, from 0.
        in_channels, out_channels: channels of the block's input and output.
        width: channels between its convolutions.
        stride: 2 where the stage halves the size, else 1.
        project: whether the shortcut is a 1x1 convolution.
    """

    stage: int
    index: int
    in_channels: int
    width: int
    out_channels: int
    stride: int
    project: bool


def block_places(
    depth: int, *, in_channels: int, width: int, out_channels: int, project_first: bool = True
) -> Iterator[BlockPlace]:
    """The places of a network's blocks, from the stem to the head.

    Args:
        depth: a key of `STAGE_DEPTHS`.
        in_channels: channels that the stem gives.
        width, out_channels: those of the first stage; they double, and the size halves, at each of the others.
        project_first: whether the first stage, too, begins with a convolution in the shortcut.
    """
    for stage, blocks in enumerate(STAGE_DEPTHS[depth]):
        for index in range(blocks):
            yield BlockPlace(
                stage,
                index,
                in_channels,
                width << stage,
                out_channels << stage,
                stride=2 if index == 0 and stage > 0 else 1,
                project=index == 0 and (stage > 0 or project_first),
            )
            in_channels = out_channels << stage


class ResidualBlock(nn.Layer):
    """ReLU(shortcut(x) + scale(residual(x))): what the two kinds of block have in common."""

    def add_shortcut(
        self,
        place: BlockPlace,
        layer: Callable[..., nn.Layer],
        names: Mapping[str, str],
        *,
        reduction: int | None = None,
        pooled_shortcut: bool = False,
        data_format: str = "NCHW",
    ) -> None:
        """Make what surrounds the convolutions, after them: checkpoints have this order.

        Args:
            reduction: that of the squeeze-and-excitation on the residual; none by default.
            pooled_shortcut: where the shortcut halves the size, average 2x2 pixels instead of taking one of them.
        """
        pooled = pooled_shortcut and place.stride > 1
        self.scale: nn.Layer = nn.Identity()
        self.pool: nn.Layer = nn.Identity()
        self.short: nn.Layer = nn.Identity()
        if reduction is not None:
            self.scale = SELayer(place.out_channels, reduction, name=names.get("scale"), data_format=data_format)
        if pooled:
            self.pool = AvgPool2D(2, stride=place.stride, ceil_mode=True, data_format=data_format)
        if place.project:
            stride = 1 if pooled else place.stride
            self.short = layer(
                place.in_channels, place.out_channels, 1, stride=stride, act=None, name=names.get("short")
            )

    @staticmethod
    def last_activation(reduction: int | None = None, **around) -> str | None:
        """What follows the last convolution: the block's ReLU, unless squeeze-and-excitation stands between them."""
        return "relu" if reduction is None else None

    def residual(self, x, shortcut=None):
        """The convolutions; the last one adds `shortcut`, if it is given, before its activation."""
        raise NotImplementedError(f"{type(self).__name__} must define residual")

    def forward(self, x):
        shortcut = self.short(self.pool(x))
        if isinstance(self.scale, nn.Identity):
            return self.residual(x, shortcut)
        return add_relu(shortcut, self.scale(self.residual(x)))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions with a shortcut around them.

    Args:
        place: the block's sizes.
        layer: makes a convolution with its batch norm, as `ConvBNLayer` does.
        names: parameter name of each sublayer ("conv0", "conv1", "scale", "short"); generated names by default.
        around: the options of `ResidualBlock.add_shortcut`.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        place: BlockPlace,
        *,
        layer: Callable[..., nn.Layer] = ConvBNLayer,
        names: Mapping[str, str] | None = None,
        **around,
    ) -> None:
        super().__init__()
        names = names or {}
        self.conv0 = layer(place.in_channels, place.width, 3, stride=place.stride, name=names.get("conv0"))
        act = self.last_activation(**around)
        self.conv1 = layer(place.width, place.out_channels, 3, act=act, name=names.get("conv1"))
        self.add_shortcut(place, layer, names, **around)

    def residual(self, x, shortcut=None):
        return self.conv1(self.conv0(x), shortcut)


class BottleneckBlock(ResidualBlock):
    """1x1 to `width` channels, 3x3 with the stride, 1x1 to `out_channels`, with a shortcut around them.

    Args:
        groups: groups of the 3x3 convolution: the cardinality of ResNeXt.
        place, layer, names, around: those of `BasicBlock`, with "conv2" among the names.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        place: BlockPlace,
        *,
        layer: Callable[..., nn.Layer] = ConvBNLayer,
        names: Mapping[str, str] | None = None,
        groups: int = 1,
        **around,
    ) -> None:
        super().__init__()
        names = names or {}
        self.conv0 = layer(place.in_channels, place.width, 1, name=names.get("conv0"))
        self.conv1 = layer(place.width, place.width, 3, stride=place.stride, groups=groups, name=names.get("conv1"))
        act = self.last_activation(**around)
        self.conv2 = layer(place.width, place.out_channels, 1, act=act, name=names.get("conv2"))
        self.add_shortcut(place, layer, names, **around)

    def residual(self, x, shortcut=None):
        return self.conv2(self.conv1(self.conv0(x)), shortcut)


def deep_stem(
    in_channels: int,
    widths: tuple[int, int, int],
    layer: Callable[..., nn.Layer],
    names: tuple[str | None, str | None, str | None] = (None, None, None),
) -> list[nn.Layer]:
    """Three 3x3 convolutions, the first with stride 2, in place of one 7x7.

    Args:
        in_channels: channels of the images.
        widths: channels after each convolution.
        layer: makes a convolution with its batch norm, as `ConvBNLayer` does.
        names: parameter name of each; generated names by default.
    """
    first, second, third = widths
    return [
        layer(in_channels, first, 3, stride=2, name=names[0]),
        layer(first, second, 3, name=names[1]),
        layer(second, third, 3, name=names[2]),
    ]
