"""Batches as tensors, read by worker processes: the only place where the data meets PaddlePaddle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import paddle
from paddle import Tensor
from paddle.base import core

from ppzoo.data.batch_transforms import BatchTransform
from ppzoo.data.reading import Answer, Failure, OnError, Reader, Request, Step
from ppzoo.data.samplers import Sampler
from ppzoo.data.samples import Samples
from ppzoo.data.transforms import NormalizeImage
from ppzoo.data.workers import Workers
from ppzoo.errors import ConfigError, DataError


class Batch(NamedTuple):
    """images: (N, C, H, W) float32 or float16; labels: (N,) int64 or (N, classes) float32; indices: (N,) int64."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class Loader:
    """Batches of a dataset, epoch by epoch.

    The batches do not depend on the number of workers. These start with the first epoch and stay for the later ones;
    they end with the loader, or when an epoch is not gone through to its end.

    Args:
        num_workers: processes that read; 0: this one reads.
        use_shared_memory: hand batches over in shared memory (it has no name in /dev/shm) instead of pipes.
        batch_transforms: what is done to each batch, one after the other.
        on_error: "raise": a sample that cannot be read is an error; "skip": it is left out of its batch, and noted.
        max_bad_fraction: share of the samples that may be left out.
        pool: answers the failures of a batch on all processes, which read their batches in step; by default there is
            one process.

    Attributes:
        bad: index of each sample that was left out so far, and why.

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
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"dataset.on_error: expected 'raise' or 'skip', got {on_error!r}")
        if num_workers < 0:
            raise ConfigError(f"loader.num_workers: expected a number from 0 on, got {num_workers!r}")
        if not 0 <= max_bad_fraction <= 1:
            raise ConfigError(f"dataset.max_bad_fraction: expected 0 to 1, got {max_bad_fraction!r}")
        self.samples, self.sampler = samples, sampler
        self.num_workers, self.use_shared_memory = num_workers, use_shared_memory
        self.reader = Reader(samples, batch_transforms, on_error)
        self.max_bad_fraction, self.pool = max_bad_fraction, pool
        self.bad: dict[int, str] = {}
        self._workers: Workers | None = None
        if num_workers:
            cv2.setNumThreads(1)  # the processes are the threads; a pool of OpenCV's would not survive the fork

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Batch | None, None, None]:
        """The epoch's batches from `start_step` on; None stands for one of which no sample could be read.

        Raises:
            DataError: a sample cannot be read or transformed, in whichever process that happens; or too many cannot.
            TrainingError: a worker process died.
        """
        steps = enumerate(self.sampler.batches(epoch, start_step), start_step)
        requests = (Request(Step(epoch, step, self.sampler.rank), keys) for step, keys in steps)
        batches = self._read_in_workers(requests) if self.num_workers else map(self._take, map(self.reader, requests))
        yield from batches if self._on_cpu() else _one_ahead(batches)

    def state(self) -> dict[str, Any]:
        """What a run that goes on elsewhere must know of the samples that were left out."""
        return {"bad": [list(item) for item in sorted(self.bad.items())]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` answered."""
        self.bad = {int(index): str(reason) for index, reason in state["bad"]}

    def bad_files(self) -> dict[str, str]:
        """Every file that was left out so far, sorted, and why."""
        return dict(sorted((self.samples.dataset.describe(index), reason) for index, reason in self.bad.items()))

    def note(self, failures: Iterable[tuple[int, str]]) -> None:
        """Take in samples that were left out, here or on another process: the index of each, and why.

        Raises:
            DataError: they are too many.
        """
        for index, reason in failures:
            self.bad[index] = reason
            if len(self.bad) > self.max_bad_fraction * len(self.samples):
                raise DataError(
                    f"{len(self.bad)} of {len(self.samples)} images cannot be read, more than "
                    f"dataset.max_bad_fraction ({self.max_bad_fraction}); the last: {reason}"
                )

    def _read_in_workers(self, requests: Iterator[Request]) -> Iterator[Batch | None]:
        workers = self._workers or Workers(self.reader, self.num_workers, self.use_shared_memory)
        self._workers = None
        try:
            yield from workers.read(requests, self._take)
        finally:
            if workers.idle:
                self._workers = workers
            else:
                workers.close()

    def _take(self, answer: Answer) -> Batch | None:
        """The batch of what was read, after its failures have been noted; its tensors share no memory with it."""
        self.note(self.pool(answer.failures))
        if answer.arrays is None:
            if self.pool is not list:  # the others wait for this one's gradients
                raise DataError(f"no image of a batch could be read; the first: {answer.failures[0].reason}")
            return None
        images, labels, indices = answer.arrays
        return Batch(self._images(images, answer.normalized), _tensor(labels.copy()), _tensor(indices.copy()))

    def _images(self, images: np.ndarray, is_normalized: bool) -> Tensor:
        if is_normalized:
            return _tensor(images.copy())
        if self._on_cpu():
            return _tensor(self.samples.normalize(images))
        assert self.samples.transforms.last is not None
        return normalized(self.samples.transforms.last, _tensor(images.copy()))

    @staticmethod
    def _on_cpu() -> bool:
        return paddle.get_device() == "cpu"


def normalized(normalize: NormalizeImage, images: Tensor) -> Tensor:
    """N x H x W x C bytes normalized where they are; one operator at a time, so that all round as NumPy does."""
    planes = images.transpose([0, 3, 1, 2]).astype("float32")
    mean, std = (paddle.to_tensor(values).reshape([1, -1, 1, 1]) for values in (normalize.mean, normalize.std))
    return (planes * float(normalize.scale) - mean) / std


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor on the current device; on the CPU it is the array's memory, which nothing else may use any more.

    To a GPU it goes from pinned memory, without waiting. (That part was written without a GPU at hand.)
    """
    if paddle.get_device() == "cpu":
        tensor = paddle.empty([1], array.dtype.name)  # those made otherwise leave 80 bytes behind when they are gone
        tensor.get_tensor()._share_data_with(core.from_dlpack(array.__dlpack__()))
        return tensor
    if not paddle.device.is_compiled_with_cuda():
        return paddle.to_tensor(array)
    return paddle.to_tensor(array, place=paddle.CUDAPinnedPlace()).cuda(blocking=False)


def _one_ahead(batches: Iterator[Batch | None]) -> Iterator[Batch | None]:
    """The same batches, each taken before the one before it is used, so that copies go on beside the computation."""
    ahead = deque[Batch | None]()
    for batch in batches:
        ahead.append(batch)
        if len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead
