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
from ppzoo.layers.native_layers import Conv2D
from ppzoo.layers.param_names import batch_norm
from ppzoo.layers.reparam import Reparameterized, fuse_norm, fused_convolution, norm_affine, pad_kernel
from ppzoo.paddle_internals import norm_epsilon, running_statistics


class IdentityConv1x1(nn.Conv2D):
    """A 1x1 convolution initialized as the identity: the identity plus a kernel that is initialized with zeros."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1, weight_attr=nn.initializer.Constant(0.0), bias_attr=False)
        self.register_buffer("identity", paddle.eye(channels).reshape([channels, channels, 1, 1]), persistable=False)

    def forward(self, x):
        return F.conv2d(x, self.weight + self.identity.astype(self.weight.dtype))


class PaddedNorm(nn.Layer):
    """Batch norm, then padding with the norm's output for zero: equals padding the input with zeros in evaluation.

    In training it is only similar, because the padding value is computed from the running statistics there, too.
    """

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.bn = batch_norm(channels)
        self.padding = padding

    def forward(self, x):
        norm = self.bn
        mean, variance = running_statistics(norm)
        zero = norm.bias - norm.weight * mean / (variance + norm_epsilon(norm)).sqrt()
        zero = zero.reshape([1, -1, 1, 1])
        return F.pad(norm(x) - zero, [self.padding] * 4) + zero


class DiverseBranchBlock(Reparameterized):
    """Activation of the sum of four branches: KxK; 1x1; 1x1 and average pooling; 1x1 and KxK convolutions.

    A batch norm follows each convolution and the pooling. PaddleClas sets momentum 0.1 for the norms before a padding,
    so that PaddlePaddle's running statistics depend almost only on the last batch. Here the momentum is 0.9, as in the
    authors' code (where it is called 0.1, PyTorch's default).

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
        self.dbb_reparam: Conv2D | None = None

    def forward(self, x, residual=None):
        """Return act(sum of the branches + residual); `residual` has the shape of the output or is None."""
        if self.dbb_reparam is not None:
            y = self.dbb_reparam(x)
        else:
            y = self.dbb_origin(x) + self.dbb_1x1(x) + self.dbb_avg(x) + self.dbb_1x1_kxk(x)
        return self.act(y if residual is None else y + residual)

    def fuse(self) -> None:
        if self.dbb_reparam is not None:
            return
        origin = self.dbb_origin.conv
        size = origin.weight.shape[-1]
        fused = [
            fuse_norm(origin.weight, self.dbb_origin.bn),
            fuse_norm(pad_kernel(self.dbb_1x1.conv.weight, size), self.dbb_1x1.bn),
            self._fused_average(size),
            self._fused_sequence(),
        ]
        kernel, bias = (sum(values) for values in zip(*fused, strict=True))
        self.dbb_reparam = fused_convolution(origin, kernel, bias, self.dbb_origin.bn.bias.name)
        del self.dbb_origin, self.dbb_1x1, self.dbb_avg, self.dbb_1x1_kxk

    def _fused_average(self, size: int) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Fuse the branch with average pooling into a kernel and a bias (section 3.2, transforms I, III and V)."""
        conv, padded, _, norm = self.dbb_avg
        kernel, bias = fuse_norm(conv.weight, padded.bn)
        kernel, shift = fuse_norm(paddle.tile(kernel, [1, 1, size, size]) / size**2, norm)
        return kernel, bias * norm_affine(norm)[0] + shift

    def _fused_sequence(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Fuse the branch with 1x1 and KxK convolution into a kernel and a bias (section 3.2, transforms I and III)."""
        first, padded, second, norm = self.dbb_1x1_kxk
        inner, inner_bias = fuse_norm(first.weight + first.identity, padded.bn)
        kernel = paddle.einsum("oihw,ij->ojhw", second.weight, inner[:, :, 0, 0])
        bias = paddle.einsum("oihw,i->o", second.weight, inner_bias)
        kernel, shift = fuse_norm(kernel, norm)
        return kernel, bias * norm_affine(norm)[0] + shift
