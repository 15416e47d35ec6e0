"""Samplers: the indices of the samples in each batch, on each of several processes.

Batches depend on (seed, epoch, step) only, so a run can resume from any step without drawing the earlier ones. The
batches of one step are consecutive in one global order: P processes with batches of B see in a step the samples that
one process with batches of P x B sees. The samplers for training only are in `training_samplers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ppzoo.data.samples import Key
from ppzoo.errors import ConfigError
from ppzoo.registry import Registry


class Sampler(Protocol):
    """The batches of an epoch for one process.

    A sampler whose batches differ in image size has an attribute `sizes`, the sides of its images in pixels, which the
    fourth number of a key indexes.

    Attributes:
        rank: rank of the process.
    """

    rank: int

    def __len__(self) -> int:
        """Number of steps per epoch."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Key]]:
        """Yield the epoch's batches from step `start` on, each as the keys of its samples."""


SAMPLERS: Registry[type] = Registry("sampler")


def require_evaluation_sampler(sampler: type) -> None:
    """Check that a sampler takes each sample once per epoch, in one size.

    Raises:
        ConfigError: its attribute `for_evaluation` is False.
    """
    if not getattr(sampler, "for_evaluation", True):
        raise ConfigError(
            f"{sampler.__name__}: expected training data, got evaluation data, whose images are needed once each and in"
            " one size; use DistributedBatchSampler"
        )


@SAMPLERS.register
@dataclass(eq=False, kw_only=True)
class DistributedBatchSampler:
    """Every sample once per epoch, in the order of the dataset or shuffled.

    With `pad` (training) all processes take the same number of steps with batches of equal size: the samples that
    remain after the last full step make one shorter step, padded to equal batches with samples from the start of the
    order. Without `pad` (evaluation) no sample is repeated, and the batches that a single process would use are
    distributed round robin among the processes, so that some processes can have one batch less than others.

    Args:
        batch_size: samples per step on each process.
        shuffle: draw a new order for each epoch, which depends only on the seed and the epoch.
        drop_last: drop the samples that remain after the last full step.
        length: number of samples.
        seed: seed of the order, 0 or more.
        rank, world_size: rank of this process, and number of processes.
        pad: see above.

    Raises:
        ConfigError: a batch size or seed out of its range, or `drop_last` leaves no step.
    """

    is_default = True
    for_evaluation = True  # takes each sample once, in one size

    batch_size: int
    shuffle: bool = False
    drop_last: bool = False
    length: int
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    pad: bool = True

    def __post_init__(self) -> None:
        if not self.pad:
            require_evaluation_sampler(type(self))
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: expected 1 or more, got {self.batch_size}")
        if self.seed < 0:
            raise ConfigError(f"seed: expected 0 or more, got {self.seed}")
        samples_per_step = self.batch_size * self.world_size if self.pad else self.batch_size
        self.full_steps, self.remainder = divmod(self.length, samples_per_step)
        self._require_full_step(samples_per_step)

    def _require_full_step(self, samples: int) -> None:
        """Check that `drop_last` leaves a full step, which has this number of samples."""
        if self.drop_last and not self.full_steps:
            raise ConfigError(
                f"drop_last: expected at least one full step of {samples} samples, got {self.length} samples; lower "
                "batch_size or set drop_last to False"
            )

    def __len__(self) -> int:
        if self.pad:
            return self.full_steps + bool(len(self._last_batch()))
        batches = self.full_steps + bool(self.remainder and not self.drop_last)
        return len(range(self.rank, batches, self.world_size))

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Key]]:
        order = self._order(epoch)
        for step in range(start, len(self)):
            if self.pad and step == self.full_steps:
                positions = self._last_batch()
            else:
                first = (step * self.world_size + self.rank) * self.batch_size
                positions = np.arange(first, min(first + self.batch_size, self.length))
            yield [(epoch, int(index)) for index in order[positions]]

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.length)
        return self.generator(epoch).permutation(self.length)

    def generator(self, epoch: int) -> np.random.Generator:
        """Return the random generator of an epoch, the same on all processes."""
        # The spawn key separates this stream from those of the samples, which are seeded with (seed, epoch, index).
        return np.random.default_rng(np.random.SeedSequence((self.seed, epoch), spawn_key=(0,)))

    def _last_batch(self) -> np.ndarray:
        """Return the positions of this process's batch in the last, shorter step, padded."""
        if self.drop_last or not self.remainder:
            return np.arange(0)
        missing = -self.remainder % self.world_size
        rest = np.concatenate([np.arange(self.length - self.remainder, self.length), np.arange(missing) % self.length])
        return np.array_split(rest, self.world_size)[self.rank]
