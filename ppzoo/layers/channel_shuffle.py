"""The channel shuffle of both ShuffleNets."""

from __future__ import annotations

import paddle


def channel_shuffle(x: paddle.Tensor, groups: int) -> paddle.Tensor:
    """Deal the channels of `groups` equal groups out in turn: the first of each group, the second of each, ...

    Zhang et al., arXiv:1707.01083, section 3.1, figure 1. Spelt with reshape and transpose, because Paddle2ONNX has no
    counterpart of `paddle.nn.functional.channel_shuffle`.

    Shape: N x C x H x W, C a multiple of `groups`, to the same.
    """
    _, channels, height, width = x.shape
    x = x.reshape([-1, groups, channels // groups, height, width])
    return x.transpose([0, 2, 1, 3, 4]).reshape([-1, channels, height, width])
