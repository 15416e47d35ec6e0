"""Which samples make up which batch, on which of several processes.

Everything follows from (seed, epoch, step), so that a run can go on from any step without having drawn the ones
before. The batches of one step, over all processes, are consecutive in one order: P processes with batches of B
see in a step what one process with batches of P x B sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from ppzoo.data.pipeline import Key
from ppzoo.errors import ConfigError
from ppzoo.registry import Registry


class Sampler(Protocol):
    """Batches of an epoch, for one process.

    Attributes:
        rank: number of the process.
    """

    rank: int

    def __len__(self) -> int:
        """Steps of an epoch."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Key]]:
        """The epoch's batches from step `start` on, as (epoch, index) of each sample."""


SAMPLERS: Registry[type] = Registry("sampler")


@SAMPLERS.register
class DistributedBatchSampler:
    """Every sample once an epoch, in the order of the dataset or shuffled.

    The samples that remain after the last full step make one shorter step. With `pad` that step is filled up to
    equal shares, with samples from the start of the order, so that all processes take the same number of steps with
    batches of equal size (training). Without, the shares differ by at most one and no sample comes twice
    (evaluation); a process whose share is empty then has one step less.

    Args:
        batch_size: samples a step on each process.
        shuffle: draw a new order for each epoch, from (seed, epoch).
        drop_last: leave out the samples that remain after the last full step.
        length: number of samples.
        seed: decides the order.
        rank, world_size: number of this process, and how many there are.
        pad: as above.

    Raises:
        ConfigError: a size that is not positive, or one that leaves no step.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        length: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pad: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size: expected a positive number, received {batch_size}")
        if seed < 0:
            raise ConfigError(f"seed: expected a number from 0 on, received {seed}")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.length, self.seed, self.rank, self.world_size, self.pad = length, seed, rank, world_size, pad
        self.full_steps, self.remainder = divmod(length, batch_size * world_size)
        if drop_last and not self.full_steps:
            raise ConfigError(
                f"drop_last leaves no batch: {length} samples, {world_size} x {batch_size} a step; "
                "lower batch_size or set drop_last to False"
            )

    def __len__(self) -> int:
        return self.full_steps + bool(len(self._last_share()))

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Key]]:
        order = self._order(epoch)
        for step in range(start, len(self)):
            if step < self.full_steps:
                first = (step * self.world_size + self.rank) * self.batch_size
                places = np.arange(first, first + self.batch_size)
            else:
                places = self._last_share()
            yield [(epoch, int(index)) for index in order[places]]

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.length)
        return self.generator(epoch).permutation(self.length)

    def generator(self, epoch: int) -> np.random.Generator:
        """What decides the order of an epoch, the same on all processes."""
        # The spawn key keeps this stream apart from those of the samples, which are seeded with (seed, epoch, index).
        return np.random.default_rng(np.random.SeedSequence((self.seed, epoch), spawn_key=(0,)))

    def _last_share(self) -> np.ndarray:
        """Places in the order of this process's part of the last, shorter step."""
        if self.drop_last or not self.remainder:
            return np.arange(0)
        rest = np.arange(self.length - self.remainder, self.length)
        if self.pad:
            missing = -self.remainder % self.world_size
            rest = np.concatenate([rest, np.arange(missing) % self.length])
        return np.array_split(rest, self.world_size)[self.rank]
