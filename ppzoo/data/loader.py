"""Batches as tensors, read by worker processes: the only place where the data meets PaddlePaddle."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import cv2
import paddle
from paddle import Tensor
from paddle.io import DataLoader, Dataset

from ppzoo.data.batch_transforms import BatchTransform
from ppzoo.data.pipeline import Key, Sample, Samples
from ppzoo.data.reading import Failure, OnError, Reader, Step, decode, decode_failures
from ppzoo.data.sampler import Sampler
from ppzoo.errors import ConfigError, DataError, TrainingError


class Batch(NamedTuple):
    """images: (N, C, H, W) float32 or float16; labels: (N,) int64 or (N, classes) float32; indices: (N,) int64."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class Loader:
    """Batches of a dataset, epoch by epoch.

    The batches do not depend on the number of workers. Workers live as long as the iterator of their epoch.

    Args:
        num_workers: processes that read; 0: this one reads.
        use_shared_memory: hand batches over in shared memory (/dev/shm) instead of pipes.
        batch_transforms: what is done to each batch, one after the other.
        on_error: "raise": a sample that cannot be read is an error; "skip": it is left out of its batch, and noted.
        max_bad_fraction: share of the samples that may be left out.

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
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"dataset.on_error: expected 'raise' or 'skip', received {on_error!r}")
        if not 0 <= max_bad_fraction <= 1:
            raise ConfigError(f"dataset.max_bad_fraction: expected 0 to 1, received {max_bad_fraction!r}")
        self.samples, self.sampler = samples, sampler
        self.num_workers, self.use_shared_memory = num_workers, use_shared_memory
        self.reader = Reader(samples, batch_transforms, on_error)
        self.max_bad_fraction = max_bad_fraction
        self.bad: dict[int, str] = {}
        if num_workers:
            cv2.setNumThreads(1)  # the processes are the threads; a pool of OpenCV's would not survive the fork

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The epoch's batches from `start_step` on.

        Raises:
            DataError: a sample cannot be read or transformed, in whichever process that happens; or too many cannot.
            TrainingError: a worker process died.
        """
        requests = _Requests(self.sampler, epoch, start_step)
        if self.num_workers:
            with closing(self._read_in_workers(requests)) as batches:
                for fields in batches:
                    yield self._open(fields)
        else:
            for request in requests:
                arrays = self.reader.batch([self.reader.item(key) for key in request])
                yield self._open([paddle.to_tensor(array) for array in arrays])

    def bad_files(self) -> dict[str, str]:
        """Every file that was left out so far, sorted, and why."""
        return dict(sorted((self.samples.dataset.describe(index), reason) for index, reason in self.bad.items()))

    def _open(self, fields: Sequence[Tensor]) -> Batch:
        """The batch of what the reader answered, after its failures have been noted."""
        if len(fields) == 1:
            raise DataError(decode(fields[0].numpy()))
        images, labels, indices, failures = fields
        for index, reason in decode_failures(failures.numpy()):
            self.bad[index] = reason
            if len(self.bad) > self.max_bad_fraction * len(self.samples):
                raise DataError(
                    f"{len(self.bad)} of {len(self.samples)} images cannot be read, more than "
                    f"dataset.max_bad_fraction ({self.max_bad_fraction}); the last: {reason}"
                )
        return Batch(images, labels, indices)

    def _read_in_workers(self, requests: _Requests) -> Generator[Sequence[Tensor], None, None]:
        iterator = iter(
            DataLoader(
                _Items(self.reader),
                batch_sampler=requests,
                collate_fn=self.reader.batch,
                num_workers=self.num_workers,
                use_shared_memory=self.use_shared_memory,
                worker_init_fn=_heed_the_parent_alone,
            )
        )
        try:
            yield from iterator
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


def _heed_the_parent_alone(worker: int) -> None:
    """Let a worker outlive the signals that ask the whole run to stop, and end with its parent, however that ends.

    A terminal, a job scheduler or a container sends them to all processes at once, but the trainer goes on to the end
    of its step and still needs its readers. PaddlePaddle's workers wait for work without looking for their parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when `parent` is gone or asks for it; SIGTERM, which is blocked, is received here."""
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, 1.0)
        if received is not None and received.si_pid == parent:
            break
    os._exit(0)


class _Items(Dataset):
    """The reader's items, as PaddlePaddle's data set."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader.samples)

    def __getitem__(self, key: Key | Step) -> Sample | Failure | Step:
        return self.reader.item(key)


class _Requests:
    """What `DataLoader` takes for a batch sampler: the batches of one epoch, each led by its step."""

    def __init__(self, sampler: Sampler, epoch: int, start_step: int) -> None:
        self.sampler, self.epoch, self.start_step = sampler, epoch, start_step

    def __len__(self) -> int:
        return len(self.sampler) - self.start_step

    def __iter__(self) -> Iterator[list[Key | Step]]:
        for step, keys in enumerate(self.sampler.batches(self.epoch, self.start_step), self.start_step):
            yield [Step(self.epoch, step, self.sampler.rank), *keys]
