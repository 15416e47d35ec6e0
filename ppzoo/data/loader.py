"""Batches as tensors, read by worker processes: the only place where the data meets PaddlePaddle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import paddle
from paddle import Tensor
from paddle.io import DataLoader, Dataset

from ppzoo.data.pipeline import Key, Sample, Samples
from ppzoo.data.sampler import Sampler
from ppzoo.errors import DataError, TrainingError


class Batch(NamedTuple):
    """images: (N, C, H, W) float32 or float16; labels, indices: (N,) int64."""

    images: Tensor
    labels: Tensor
    indices: Tensor


Arrays = tuple[np.ndarray, ...]
"""The fields of a batch, before they become tensors."""


def stack(samples: list[Sample]) -> Arrays:
    """The images, labels and indices of some samples.

    Raises:
        DataError: images of different shapes.
    """
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        raise DataError(
            f"expected images of one shape in a batch, received {' and '.join(map(str, sorted(shapes)[:2]))}: "
            "add ResizeImage with size, CropImage or RandCropImage to transform_ops"
        )
    labels, indices = ([sample.label for sample in samples], [sample.index for sample in samples])
    return np.stack([sample.image for sample in samples]), np.array(labels), np.array(indices)


class Loader:
    """Batches of a dataset, epoch by epoch.

    The batches do not depend on the number of workers. Workers live as long as the iterator of their epoch.

    Args:
        num_workers: processes that read; 0: this one reads.
        use_shared_memory: hand batches over in shared memory (/dev/shm) instead of pipes.
        collate: makes the fields of a batch from its samples; it runs where they are read.
    """

    def __init__(
        self,
        samples: Samples,
        sampler: Sampler,
        *,
        num_workers: int = 0,
        use_shared_memory: bool = True,
        collate: Callable[[list[Sample]], Arrays] = stack,
    ) -> None:
        self.samples, self.sampler = samples, sampler
        self.num_workers, self.use_shared_memory, self.collate = num_workers, use_shared_memory, collate
        if num_workers:
            cv2.setNumThreads(1)  # the processes are the threads; a pool of OpenCV's would not survive the fork

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from `start_step` on.

        Raises:
            DataError: a sample cannot be read or transformed, in whichever process that happens.
            TrainingError: a worker process died.
        """
        if self.num_workers:
            yield from self._read_in_workers(epoch, start_step)
        else:
            for keys in self.sampler.batches(epoch, start_step):
                yield Batch(*map(paddle.to_tensor, self.collate([self.samples[key] for key in keys])))

    def _read_in_workers(self, epoch: int, start_step: int) -> Iterator[Batch]:
        iterator = iter(
            DataLoader(
                _ErrorsAsValues(self.samples),
                batch_sampler=_Epoch(self.sampler, epoch, start_step),
                collate_fn=self._collate,
                num_workers=self.num_workers,
                use_shared_memory=self.use_shared_memory,
            )
        )
        try:
            for fields in iterator:
                if len(fields) == 1:
                    raise DataError(fields[0].numpy().tobytes().decode())
                yield Batch(*fields)
        except SystemError as error:  # all that DataLoader says when a worker is gone
            codes = ", ".join(str(worker.exitcode) for worker in iterator._workers if worker.exitcode)
            raise TrainingError(
                f"a process that reads images died with exit code {codes}: if the memory ran out (-9), lower "
                "loader.num_workers or batch_size"
                if codes
                else "a process that reads images failed: its traceback is above"
            ) from error
        finally:
            # The iterator's own threads keep it alive, so that dropping it would leave the workers running.
            iterator._try_shutdown_all()

    def _collate(self, samples: list[Sample | DataError]) -> Arrays:
        """The fields of a batch, or one field: the text of an error (DataLoader loses batches without an array)."""
        good = [sample for sample in samples if isinstance(sample, Sample)]
        errors = [sample for sample in samples if isinstance(sample, DataError)]
        if not errors:
            try:
                return self.collate(good)
            except DataError as error:
                errors = [error]
        return (np.frombuffer(str(errors[0]).encode(), np.uint8),)


class _ErrorsAsValues(Dataset):
    """Samples in which a DataError is an answer: raised in a worker it would reach the user as a wrapped traceback."""

    def __init__(self, samples: Samples) -> None:
        super().__init__()
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Sample | DataError:
        try:
            return self.samples[key]
        except DataError as error:
            return error


class _Epoch:
    """What `DataLoader` takes for a batch sampler: the steps of one epoch."""

    def __init__(self, sampler: Sampler, epoch: int, start_step: int) -> None:
        self.sampler, self.epoch, self.start_step = sampler, epoch, start_step

    def __len__(self) -> int:
        return len(self.sampler) - self.start_step

    def __iter__(self) -> Iterator[list[Key]]:
        return self.sampler.batches(self.epoch, self.start_step)
