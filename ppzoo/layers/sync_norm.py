"""Synchronized batch norm: statistics over the batches of all processes.

Two processes with batches of 16 then train like one process with a batch of 32. PaddlePaddle has a kernel for GPUs
only. On other devices the norm is composed here of PaddlePaddle's operators and two collectives: an all-gather of the
moments in the forward pass and an all-reduce of two sums in the backward pass.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.distributed as dist
from paddle import Tensor
from paddle.autograd import PyLayer

from ppzoo.paddle_internals import sync_batch_norm


def synchronized_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    *,
    momentum: float,
    epsilon: float,
    data_layout: str,
) -> Tensor:
    """Return the batch norm of `x` by the statistics of all processes, and update the running statistics."""
    if x.place.is_gpu_place():
        tensors = x, running_mean, running_variance, weight, bias
        return sync_batch_norm(*tensors, False, momentum, epsilon, data_layout, False, False)[0]
    axes = [axis for axis in range(x.ndim) if axis != (1 if data_layout == "NCHW" else x.ndim - 1)]
    y, mean, variance = _SynchronizedNorm.apply(x, weight, bias, axes, epsilon)
    with paddle.no_grad():
        for running, latest in ((running_mean, mean), (running_variance, variance)):
            running.set_value(momentum * running + (1 - momentum) * latest)
    return y


def combine_moments(counts: Tensor, means: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance (C values each) of values that are divided into P parts.

    Chan et al., "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

    Args:
        counts: number of values per channel of each part, P x 1.
        means: mean of each part, P x C.
        squares: sum of the squared distances from the mean of the part, P x C.
    """
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return mean, (squares + counts * (means - mean) ** 2).sum(0) / count


class _SynchronizedNorm(PyLayer):
    """Normalize by the mean and the variance over all processes; return the result, the mean and the variance (C each).

    Ioffe and Szegedy, arXiv:1502.03167. The gradient of x includes its effect on the losses of the other processes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, axes: list[int], epsilon: float) -> Any:
        values = x.astype("float32")
        local_mean = values.mean(axes, keepdim=True)
        squares = ((values - local_mean) ** 2).sum(axes)
        count = paddle.full([1], x.size // squares.size, "float32")
        gathered: list[Tensor] = []
        dist.all_gather(gathered, paddle.concat([count, local_mean.flatten(), squares]))
        parts = paddle.stack(gathered)
        channels = squares.size
        mean, variance = combine_moments(parts[:, :1], parts[:, 1 : channels + 1], parts[:, channels + 1 :])
        scale = paddle.rsqrt(variance + epsilon)
        shape = local_mean.shape
        normalized = (values - mean.reshape(shape)) * scale.reshape(shape)
        ctx.save_for_backward(normalized, weight, scale)
        ctx.axes, ctx.shape, ctx.count, ctx.dtype = axes, shape, parts[:, 0].sum(), x.dtype
        y = normalized * weight.reshape(shape) + bias.reshape(shape)
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
