"""Structural re-parameterization: parallel branches of a block, fused into one convolution after training.

Ding, Zhang, Ma, Han, Ding, Sun: "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021, arXiv:2101.03697,
section 3.3 and figure 4.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, nn

from ppzoo.layers.native_layers import BatchNorm, Conv2D
from ppzoo.paddle_internals import conv_options, norm_epsilon, running_statistics


class Reparameterized(nn.Layer):
    """Base class of blocks whose branches can be fused into one convolution; `Classifier.fuse` calls `fuse`."""

    def fuse(self) -> None:
        """Replace the branches by one convolution with the same output in evaluation; a second call has no effect."""
        raise NotImplementedError(f"{type(self).__name__} must define fuse")


def norm_affine(norm: BatchNorm) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return `scale` and `shift` per channel: in evaluation, the batch norm is scale * x + shift."""
    mean, variance = running_statistics(norm)
    scale = norm.weight / (variance + norm_epsilon(norm)).sqrt()
    return scale, norm.bias - mean * scale


def fuse_norm(kernel: paddle.Tensor, norm: BatchNorm) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return kernel and bias of the convolution that equals a convolution with `kernel` followed by `norm`."""
    scale, shift = norm_affine(norm)
    return kernel * scale.reshape([-1, 1, 1, 1]), shift


def pad_kernel(kernel: paddle.Tensor, size: int) -> paddle.Tensor:
    """Pad a square kernel with zeros to `size` x `size`; both sizes are odd."""
    margin = (size - kernel.shape[-1]) // 2
    return F.pad(kernel, [margin] * 4) if margin else kernel


def identity_kernel(channels: int, groups: int, size: int) -> paddle.Tensor:
    """Return the `size` x `size` kernel of a convolution with `channels` and `groups` that is the identity."""
    width = channels // groups
    eye = paddle.tile(paddle.eye(width), [groups, 1]).reshape([channels, width, 1, 1])
    return pad_kernel(eye, size)


def fused_convolution(conv: Conv2D, kernel: paddle.Tensor, bias: paddle.Tensor, bias_name: str) -> Conv2D:
    """Build a convolution with the options and the parameter name of `conv` and the given kernel and bias.

    Args:
        bias_name: the parameter name of the bias; unique in the network.
    """
    options = conv_options(conv)
    with paddle.utils.unique_name.guard():
        fused = Conv2D(
            options.in_channels,
            options.out_channels,
            options.kernel_size,
            stride=options.stride,
            padding=options.padding,
            groups=options.groups,
            weight_attr=ParamAttr(name=conv.weight.name),
            bias_attr=ParamAttr(name=bias_name),
        )
    fused.weight.set_value(kernel)
    fused.bias.set_value(bias)
    fused.eval()
    return fused
