"""Batch norm over the batches of all processes: two with batches of 16 then train as one with a batch of 32 does.

PaddlePaddle has a kernel of it for GPUs alone. On other devices it is put together here of PaddlePaddle's operators
and two transfers: of the moments on the way forward, of two sums on the way back.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.distributed as dist
from paddle import Tensor, _C_ops, nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F


def synchronized_norm(norm: nn.BatchNorm, x: Tensor) -> Tensor:
    """What `norm` answers to x in training; its running statistics move towards those of all processes' batches."""
    if x.place.is_gpu_place():
        tensors = x, norm._mean, norm._variance, norm.weight, norm.bias
        options = False, norm._momentum, norm._epsilon, norm._data_layout, False, False
        y = _C_ops.sync_batch_norm_(*tensors, *options)[0]
    else:
        axes = [axis for axis in range(x.ndim) if axis != (1 if norm._data_layout == "NCHW" else x.ndim - 1)]
        y, mean, variance = _SynchronizedNorm.apply(x, norm.weight, norm.bias, axes, norm._epsilon)
        with paddle.no_grad():
            for running, latest in ((norm._mean, mean), (norm._variance, variance)):
                running.set_value(norm._momentum * running + (1 - norm._momentum) * latest)
    return y if norm._act is None else getattr(F, norm._act)(y)


def combine_moments(counts: Tensor, means: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (biased), C each, of P parts.

    Chan et al., "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

    Args:
        counts: P x 1 numbers of values a channel.
        means: P x C.
        squares: P x C sums of the squared distances from the part's own mean.
    """
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return mean, (squares + counts * (means - mean) ** 2).sum(0) / count


class _SynchronizedNorm(PyLayer):
    """Normalizes by the mean and the variance over all processes; answers both, C each, beside the result.

    Ioffe and Szegedy, arXiv:1502.03167. The gradient of x takes in what x does to the other processes' losses.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, axes: list[int], epsilon: float) -> Any:
        values = x.astype("float32")
        own = values.mean(axes, keepdim=True)
        squares = ((values - own) ** 2).sum(axes)
        count = paddle.full([1], x.size // squares.size, "float32")
        gathered: list[Tensor] = []
        dist.all_gather(gathered, paddle.concat([count, own.flatten(), squares]))
        parts = paddle.stack(gathered)
        channels = squares.size
        mean, variance = combine_moments(parts[:, :1], parts[:, 1 : channels + 1], parts[:, channels + 1 :])
        scale = paddle.rsqrt(variance + epsilon)
        normalized = (values - mean.reshape(own.shape)) * scale.reshape(own.shape)
        ctx.save_for_backward(normalized, weight, scale)
        ctx.axes, ctx.shape, ctx.count, ctx.dtype = axes, own.shape, parts[:, 0].sum(), x.dtype
        y = normalized * weight.reshape(own.shape) + bias.reshape(own.shape)
        ctx.mark_non_differentiable(mean, variance)
        return y.astype(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *unused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normalized, weight, scale = ctx.saved_tensor()
        dy = dy.astype("float32")
        dbias, dweight = dy.sum(ctx.axes), (dy * normalized).sum(ctx.axes)
        sums = paddle.concat([dbias, dweight])
        dist.all_reduce(sums)
        offset, slope = (total.reshape(ctx.shape) / ctx.count for total in paddle.split(sums, 2))
        dx = (dy - offset - normalized * slope) * (weight * scale).reshape(ctx.shape)
        return dx.astype(ctx.dtype), dweight, dbias
