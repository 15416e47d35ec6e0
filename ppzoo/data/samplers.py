"""Which samples make up which batch, on which of several processes.

Everything follows from (seed, epoch, step), so that a run can go on from any step without having drawn the ones
before. The batches of one step, over all processes, are consecutive in one order: P processes with batches of B
see in a step what one process with batches of P x B sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from ppzoo.data.samples import Key
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

    With `pad` (training) all processes take the same number of steps with batches of equal size: the samples that
    remain after the last full step make one shorter step, filled up to equal shares with samples from the start of the
    order. Without (evaluation) no sample comes twice, and the batches are those of a single process, dealt out in turn;
    some processes may then have one less.

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

    is_default = True

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
            raise ConfigError(f"batch_size: expected a positive number, got {batch_size}")
        if seed < 0:
            raise ConfigError(f"seed: expected a number from 0 on, got {seed}")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.length, self.seed, self.rank, self.world_size, self.pad = length, seed, rank, world_size, pad
        together = batch_size * world_size if pad else batch_size
        self.full_steps, self.remainder = divmod(length, together)
        if drop_last and not self.full_steps:
            raise ConfigError(
                f"drop_last leaves no batch: {length} samples, {together} a step; "
                "lower batch_size or set drop_last to False"
            )

    def __len__(self) -> int:
        if self.pad:
            return self.full_steps + bool(len(self._last_share()))
        batches = self.full_steps + bool(self.remainder and not self.drop_last)
        return len(range(self.rank, batches, self.world_size))

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Key]]:
        order = self._order(epoch)
        for step in range(start, len(self)):
            if self.pad and step == self.full_steps:
                places = self._last_share()
            else:
                first = (step * self.world_size + self.rank) * self.batch_size
                places = np.arange(first, min(first + self.batch_size, self.length))
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
        """Places in the order of this process's part of the last, shorter step, filled up."""
        if self.drop_last or not self.remainder:
            return np.arange(0)
        missing = -self.remainder % self.world_size
        rest = np.concatenate([np.arange(self.length - self.remainder, self.length), np.arange(missing) % self.length])
        return np.array_split(rest, self.world_size)[self.rank]
