"""Averages gradients over the processes of a run while the backward pass computes the remaining ones.

Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020, section 3.2.3. The
parameters are divided into buckets, from the last layer to the first, as the backward pass reaches them in this order.
A bucket is transferred as soon as all its gradients are computed. Buckets are transferred in the same order by all
processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import paddle
from paddle import Tensor

from ppzoo.paddle_internals import add_gradient_hook

MAX_BUCKET_BYTES = 4 * 2**20  # large enough that bandwidth, not latency, determines the time of a transfer

# Starts to add a tensor to those of the other processes, in place, and returns a function that waits for the sum.
AllReduce = Callable[[Tensor], Callable[[], object]]


class GradientAverager:
    """Averages the gradients of parameters; this base class is for a single process and does nothing."""

    def start(self) -> None:
        """Prepare for the next backward pass, whose gradients are averaged."""

    def finish(self) -> None:
        """Wait until each parameter's gradient is its mean over the processes.

        Raises:
            RuntimeError: a transfer failed.
        """


class BucketAverager(GradientAverager):
    """Averages gradients bucket by bucket.

    Args:
        parameters: those that are not trainable are ignored.
        size: number of processes.
        all_reduce: starts a transfer; see `AllReduce`.
        overlap: whether to transfer gradients during the backward pass; otherwise, `finish` transfers them.
        max_bytes: largest size of a bucket of several parameters.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        size: int,
        all_reduce: AllReduce,
        *,
        overlap: bool = True,
        max_bytes: int = MAX_BUCKET_BYTES,
    ) -> None:
        self._size, self._all_reduce = size, all_reduce
        self._buckets = split_into_buckets([one for one in parameters if not one.stop_gradient], max_bytes)
        self._missing: list[int] = []  # per bucket: number of gradients that the backward pass has not computed yet
        self._transfers: list[_Transfer] = []  # one per bucket that is being transferred, in the order of the buckets
        self._is_active = False
        for index, bucket in enumerate(self._buckets if overlap else []):
            for parameter in bucket:
                add_gradient_hook(parameter, partial(self._on_gradient, index))

    def start(self) -> None:
        self._missing, self._transfers = [len(bucket) for bucket in self._buckets], []
        self._is_active = True

    def finish(self) -> None:
        self._is_active = False
        # The buckets that are not being transferred yet: without `overlap` all; with it, those from the first bucket on
        # that lacks a gradient, because the loss does not depend on one of its parameters.
        for bucket in self._buckets[len(self._transfers) :]:
            self._transfer(bucket)
        for transfer in self._transfers:
            transfer.finish(self._size)

    def _on_gradient(self, index: int) -> None:
        """Count a computed gradient of the bucket with this index, and transfer the buckets that are complete."""
        if not self._is_active:
            return  # a step of several batches is averaged once, in the backward pass of its last batch
        self._missing[index] -= 1
        while len(self._transfers) < len(self._buckets) and not self._missing[len(self._transfers)]:
            self._transfer(self._buckets[len(self._transfers)])

    def _transfer(self, bucket: Sequence[Tensor]) -> None:
        self._transfers.append(_Transfer([one for one in bucket if one.grad is not None], self._all_reduce))


class _Transfer:
    """The gradients of a bucket, in one tensor, since one transfer is faster than many small ones."""

    def __init__(self, parameters: Sequence[Tensor], all_reduce: AllReduce) -> None:
        self.parameters = parameters
        if parameters:
            with paddle.no_grad():
                self.flat = paddle.concat([one.grad.reshape([-1]) for one in parameters])
            self.wait = all_reduce(self.flat)

    def finish(self, size: int) -> None:
        """Wait for the sum and replace the gradients by the mean over `size` processes."""
        if not self.parameters:
            return
        self.wait()
        with paddle.no_grad():
            pieces = paddle.split(self.flat / size, [one.size for one in self.parameters])
            for parameter, piece in zip(self.parameters, pieces, strict=True):
                parameter.grad.set_value(piece.reshape(parameter.shape))


def split_into_buckets(parameters: Sequence[Tensor], max_bytes: int) -> list[list[Tensor]]:
    """Divide parameters into buckets, from the last to the first; those of a bucket have the same data type.

    Args:
        max_bytes: largest size of a bucket; a larger parameter has a separate bucket.
    """
    buckets: list[list[Tensor]] = []
    free = 0
    for parameter in reversed(parameters):
        nbytes = parameter.size * parameter.element_size()
        if nbytes > free or parameter.dtype != buckets[-1][0].dtype:
            buckets.append([])
            free = max_bytes
        buckets[-1].append(parameter)
        free -= nbytes
    return buckets
