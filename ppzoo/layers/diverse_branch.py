"""Several parallel branches that replace one convolution during training.

Ding, Zhang, Han, Ding: "Diverse Branch Block: Building a Convolution as an Inception-like Unit", CVPR 2021,
arXiv:2103.13425, figure 2. Sublayer names are PaddleClas's.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppzoo.layers.basic import activation
from ppzoo.layers.conv_bn import ConvBNLayer
from ppzoo.layers.param_names import batch_norm


class IdentityConv1x1(nn.Conv2D):
    """A 1x1 convolution initialized as the identity: the identity plus a kernel that is initialized with zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1, weight_attr=nn.initializer.Constant(0.0), bias_attr=False)
        self.register_buffer("identity", paddle.eye(channels).reshape([channels, channels, 1, 1]), persistable=False)

    def forward(self, x):
        return F.conv2d(x, self.weight + self.identity.astype(self.weight.dtype))


class PaddedNorm(nn.Layer):
    """Batch norm, then padding with the norm's output for zero: equivalent to padding the input with zeros.

    The padding value is computed from the running statistics, in training as well.
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
    """Sum of four branches: KxK, 1x1, 1x1 and average pooling, 1x1 and KxK; each convolution has a batch norm.

    PaddleClas sets momentum 0.1 for the norms before a padding, with which PaddlePaddle's running statistics depend
    almost only on the last batch; here it is 0.9, as in the paper.

    Args:
        in_channels, out_channels, stride, act: as for `ConvBNLayer`.
        kernel_size: side of the square kernel, in pixels; odd and above 1.
        name: ignored; present because `ConvBNLayer` has it.

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
        """Return act(sum of the branches + residual); `residual` has the shape of the output or is None."""
        y = self.dbb_origin(x) + self.dbb_1x1(x) + self.dbb_avg(x) + self.dbb_1x1_kxk(x)
        return self.act(y if residual is None else y + residual)
