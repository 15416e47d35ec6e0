"""Several branches in the place of one convolution while a network is trained.

Ding, Zhang, Han, Ding: "Diverse Branch Block: Building a Convolution as an Inception-like Unit", CVPR 2021,
arXiv:2103.13425, figure 2. Sublayer names are PaddleClas's.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppzoo.layers.activations import activation
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.param_names import batch_norm


class IdentityConv1x1(nn.Conv2D):
    """A 1x1 convolution that starts as the identity: its filter is added to it, and is zero at first."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1, weight_attr=nn.initializer.Constant(0.0), bias_attr=False)
        self.register_buffer("identity", paddle.eye(channels).reshape([channels, channels, 1, 1]), persistable=False)

    def forward(self, x):
        return F.conv2d(x, self.weight + self.identity.astype(self.weight.dtype))


class PaddedNorm(nn.Layer):
    """Batch norm, then a border of what the norm makes of zero, as if the border had been there before.

    What it makes of zero is told by the running statistics, in training too.
    """

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.bn = batch_norm(channels)
        self.padding = padding

    def forward(self, x):
        norm = self.bn
        zero = norm.bias - norm.weight * norm._mean / (norm._variance + norm._epsilon).sqrt()
        zero = zero.reshape([1, -1, 1, 1])
        return F.pad(norm(x) - zero, [self.padding] * 4) + zero


class DiverseBranchBlock(nn.Layer):
    """The sum of a convolution, a 1x1 convolution, a 1x1 with average pooling and a 1x1 with a convolution, all normed.

    PaddleClas gives the norms before a border momentum 0.1, which in PaddlePaddle forgets all but the last batches;
    they have 0.9 here, as in the paper.

    Args:
        in_channels, out_channels, stride, act: those of `ConvBNLayer`; `name` is accepted for the same place.
        kernel_size: side of the square filter, odd and above 1.

    Shape: N x in_channels x H x W to N x out_channels x H/stride x W/stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        act: str | None = "relu",
        name: str | None = None,
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.dbb_origin = ConvBNLayer(in_channels, out_channels, kernel_size, stride=stride, act=None)
        self.dbb_avg = nn.Sequential(
            ("conv", nn.Conv2D(in_channels, out_channels, 1, bias_attr=False)),
            ("bn", PaddedNorm(out_channels, padding)),
            ("avg", nn.AvgPool2D(kernel_size, stride=stride)),
            ("avgbn", batch_norm(out_channels)),
        )
        self.dbb_1x1 = ConvBNLayer(in_channels, out_channels, 1, stride=stride, act=None)
        self.dbb_1x1_kxk = nn.Sequential(
            ("idconv1", IdentityConv1x1(in_channels)),
            ("bn1", PaddedNorm(in_channels, padding)),
            ("conv2", nn.Conv2D(in_channels, out_channels, kernel_size, stride=stride, bias_attr=False)),
            ("bn2", batch_norm(out_channels)),
        )
        self.act = activation(act)

    def forward(self, x, residual=None):
        """act(sum of the branches + residual), the residual a tensor of the output's shape or None."""
        y = self.dbb_origin(x) + self.dbb_1x1(x) + self.dbb_avg(x) + self.dbb_1x1_kxk(x)
        return self.act(y if residual is None else y + residual)
