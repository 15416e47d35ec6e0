"""Load batches as tensors with worker processes; no other module of `ppzoo.data` imports PaddlePaddle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import paddle
from paddle import Tensor

from ppzoo.data.batch_reader import BatchId, BatchReader, BatchRequest, BatchResult, Failure, OnError
from ppzoo.data.batch_transforms import BatchTransform
from ppzoo.data.compiled import library
from ppzoo.data.samplers import Sampler
from ppzoo.data.samples import Samples
from ppzoo.data.transforms import NormalizeImage
from ppzoo.data.worker_pool import StartMethod, WorkerPool
from ppzoo.errors import ConfigError, DataError
from ppzoo.paddle_internals import share_memory


class Batch(NamedTuple):
    """A batch on the current device (`paddle.get_device`).

    Attributes:
        images: (N, C, H, W) float32 or float16.
        labels: (N,) int64; (N, classes) float32; or (N, 2, classes) float32 with the fractions of positives
            (`label_ratio` of `MultiLabelDataset`).
        indices: (N,) int64, indices in the dataset.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class Loader:
    """Iterates over the batches of a dataset, epoch by epoch.

    The batches do not depend on the number of workers. Workers start with the first epoch and serve the later ones;
    they end when `close` is called, when the loader is deleted, or when an epoch is abandoned before its end.

    Args:
        num_workers: number of processes that read; 0: the calling process reads.
        use_shared_memory: forked workers return batches in shared memory (unnamed, not in /dev/shm) instead of pipes.
        batch_transforms: applied to each batch, in this order.
        on_error: "raise": a sample that cannot be read is an error; "skip": it is skipped and recorded in `bad`.
        max_bad_fraction: largest fraction of the samples that can be skipped.
        pool: gathers the failures of a step from all training processes; by default it returns those of this process.
        start_method: how workers are started, "fork" or "spawn"; None: fork on Linux, spawn elsewhere.

    Attributes:
        bad: index of each sample that was skipped so far -> reason.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        samples: Samples,
        sampler: Sampler,
        *,
        num_workers: int = 0,
        use_shared_memory: bool = True,
        batch_transforms: Sequence[BatchTransform] = (),
        on_error: OnError = "raise",
        max_bad_fraction: float = 0.05,
        pool: Callable[[list[Failure]], list[Failure]] = list,
        start_method: StartMethod | None = None,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"dataset.on_error: expected 'raise' or 'skip', got {on_error!r}")
        if num_workers < 0:
            raise ConfigError(f"loader.num_workers: expected 0 or more, got {num_workers!r}")
        if not 0 <= max_bad_fraction <= 1:
            raise ConfigError(f"dataset.max_bad_fraction: expected a number from 0 to 1, got {max_bad_fraction!r}")
        self.samples, self.sampler = samples, sampler
        self.num_workers, self.use_shared_memory, self.start_method = num_workers, use_shared_memory, start_method
        self.reader = BatchReader(samples, batch_transforms, on_error)
        self.max_bad_fraction, self.pool = max_bad_fraction, pool
        self.bad: dict[int, str] = {}
        self._workers: WorkerPool | None = None
        if num_workers:
            cv2.setNumThreads(1)  # each worker is one thread; OpenCV's thread pool does not survive a fork

    def __len__(self) -> int:
        """Number of steps per epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Batch | None, None, None]:
        """Yield the epoch's batches from `start_step` on.

        With a single training process, None is yielded for a batch of which no sample could be read.

        Raises:
            DataError: with `on_error` "raise", a sample cannot be read or transformed; with "skip", more than
                `max_bad_fraction` of the samples were skipped, or, with several training processes, all samples of a
                batch. Or the images of a batch differ in shape.
            TrainingError: a worker process died.
        """
        if self.samples.transforms.decodes:
            library.prepare()  # before workers are forked
        steps = enumerate(self.sampler.batches(epoch, start_step), start_step)
        requests = (BatchRequest(BatchId(epoch, step, self.sampler.rank), keys) for step, keys in steps)
        self.reader.normalizes = self._on_cpu() and not self.num_workers  # workers return uint8, which is smaller
        batches = self._read_in_workers(requests) if self.num_workers else map(self._take, map(self.reader, requests))
        try:
            yield from batches if self._on_cpu() else _one_ahead(batches)
        finally:  # also when the caller stops at the last batch
            if self.samples.cache is not None:
                self.samples.cache.report()

    def close(self) -> None:
        """End the worker processes; the next epoch starts new ones."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def state(self) -> dict[str, Any]:
        """Return the skipped samples, for a checkpoint."""
        return {"bad": [list(item) for item in sorted(self.bad.items())]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned.

        Raises:
            ValueError: a skipped sample is not in the dataset.
        """
        bad = {int(index): str(reason) for index, reason in state["bad"]}
        for index in bad:
            if not 0 <= index < len(self.samples):
                raise ValueError(f"expected skipped samples from 0 to {len(self.samples) - 1}, got {index}")
        self.bad = bad

    def bad_files(self) -> dict[str, str]:
        """Return each file that was skipped so far, sorted, with the reason."""
        return dict(sorted((self.samples.dataset.describe(index), reason) for index, reason in self.bad.items()))

    def record_failures(self, failures: Iterable[tuple[int, str]]) -> None:
        """Record samples that were skipped, in this process or another one, as (index, reason).

        Raises:
            DataError: more than `max_bad_fraction` of the samples were skipped.
        """
        for index, reason in failures:
            self.bad[index] = reason
            if len(self.bad) > self.max_bad_fraction * len(self.samples):
                raise DataError(
                    f"{len(self.bad)} of {len(self.samples)} images cannot be read, more than "
                    f"dataset.max_bad_fraction ({self.max_bad_fraction}); the last one: {reason}"
                )

    def _read_in_workers(self, requests: Iterator[BatchRequest]) -> Iterator[Batch | None]:
        workers = self._workers or WorkerPool(self.reader, self.num_workers, self.use_shared_memory, self.start_method)
        self._workers = None
        try:
            yield from workers.read(requests, self._take)
        finally:
            if workers.idle:
                self._workers = workers
            else:
                workers.close()

    def _take(self, result: BatchResult) -> Batch | None:
        """Record the failures of a result and return its batch as tensors that do not share memory with workers."""
        self.record_failures(self.pool(result.failures))
        if result.arrays is None:
            if self.pool is not list:  # the other processes wait for this one's gradients
                raise DataError(f"no image of a batch could be read; the first one: {result.failures[0].reason}")
            return None
        images, labels, indices = result.arrays
        return Batch(self._images(images, result.normalized), _tensor(labels.copy()), _tensor(indices.copy()))

    def _images(self, images: np.ndarray, is_normalized: bool) -> Tensor:
        if is_normalized:
            return _tensor(images.copy() if self.num_workers else images)  # workers reuse the memory
        if self._on_cpu():
            return _tensor(self.samples.normalize(images))
        assert self.samples.transforms.last is not None
        return normalize_on_device(self.samples.transforms.last, _tensor(images.copy()))

    @staticmethod
    def _on_cpu() -> bool:
        return paddle.get_device() == "cpu"


def normalize_on_device(normalize: NormalizeImage, images: Tensor) -> Tensor:
    """Normalize N x H x W x C uint8 images on the current device; each operator separately, to round as NumPy does."""
    planes = images.transpose([0, 3, 1, 2]).astype("float32")
    mean, std = (paddle.to_tensor(values).reshape([1, -1, 1, 1]) for values in (normalize.mean, normalize.std))
    return (planes * float(normalize.scale) - mean) / std


def _tensor(array: np.ndarray) -> Tensor:
    """Return a tensor on the current device; on the CPU it takes over the memory of the array.

    The copy to a GPU is asynchronous, from pinned memory.
    """
    if paddle.get_device() == "cpu":
        tensor = paddle.empty([1], array.dtype.name)  # tensors created in other ways leak 80 bytes each
        share_memory(tensor, array)
        return tensor
    if not paddle.device.is_compiled_with_cuda():
        return paddle.to_tensor(array)
    return paddle.to_tensor(array, place=paddle.CUDAPinnedPlace()).cuda(blocking=False)


def _one_ahead(batches: Iterator[Batch | None]) -> Iterator[Batch | None]:
    """Prefetch one batch, so that copies to the device overlap with computation."""
    ahead = deque[Batch | None]()
    for batch in batches:
        ahead.append(batch)
        if len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead
