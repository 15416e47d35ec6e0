"""Samplers for classes of unequal size: each epoch draws as many samples as there are, some of them repeatedly."""

from __future__ import annotations

import numpy as np

from ppzoo.data.samplers import SAMPLERS, DistributedBatchSampler
from ppzoo.errors import ConfigError


class _LabelSampler(DistributedBatchSampler):
    """What the two have in common.

    Args:
        batch_size, drop_last, seed, rank, world_size, pad: those of `DistributedBatchSampler`.
        shuffle: must be True, for the order is always random.
        labels: (N,) class of each sample.

    Raises:
        ConfigError: another `shuffle`, or labels that are no classes.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        labels: np.ndarray,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pad: bool = True,
    ) -> None:
        name = type(self).__name__
        if not shuffle:
            raise ConfigError(f"{name}.shuffle: expected True, for the order is always random, got False")
        if np.ndim(labels) != 1:
            raise ConfigError(f"{name}: expected a data set with one class an image; use DistributedBatchSampler")
        super().__init__(
            batch_size=batch_size,
            shuffle=True,
            drop_last=drop_last,
            length=len(labels),
            seed=seed,
            rank=rank,
            world_size=world_size,
            pad=pad,
        )
        order = np.argsort(labels, kind="stable")
        classes, starts = np.unique(np.asarray(labels)[order], return_index=True)
        self.members = dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))
        """The samples of each class that occurs."""

    def _order(self, epoch: int) -> np.ndarray:
        random = self.generator(epoch)
        chosen = [
            _repeat(members, count, random)
            for members, count in zip(self.members.values(), self.counts(random), strict=True)
        ]
        return random.permutation(np.concatenate(chosen))

    def counts(self, random: np.random.Generator) -> np.ndarray:
        """How many samples of each class an epoch has, in the order of `members`."""
        raise NotImplementedError


def _repeat(members: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` of some samples: none comes twice more often than another."""
    rounds, rest = divmod(int(count), len(members))
    return np.concatenate([np.tile(members, rounds), random.permutation(members)[:rest]])


@SAMPLERS.register
class ClassBalancedSampler(_LabelSampler):
    """As many samples of each class in every epoch, to one.

    Args:
        batch_size, shuffle, drop_last, labels, seed, rank, world_size, pad: see `_LabelSampler`.
    """

    def counts(self, random: np.random.Generator) -> np.ndarray:
        share, rest = divmod(self.length, len(self.members))
        counts = np.full(len(self.members), share)
        counts[random.permutation(len(self.members))[:rest]] += 1
        return counts


@SAMPLERS.register
class WeightedRandomSampler(_LabelSampler):
    """Classes are drawn by given weights; which samples of a class come is as even as can be.

    Args:
        weights: weight of each class, from class 0 on: with [1, 3], class 1 comes three times as often as class 0.
        batch_size, shuffle, drop_last, labels, seed, rank, world_size, pad: see `_LabelSampler`.

    Raises:
        ConfigError: a weight below 0, none above, or fewer weights than classes.
    """

    def __init__(
        self,
        *,
        weights: list[float],
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        labels: np.ndarray,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pad: bool = True,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            labels=labels,
            seed=seed,
            rank=rank,
            world_size=world_size,
            pad=pad,
        )
        if len(weights) <= max(self.members):
            raise ConfigError(
                f"WeightedRandomSampler.weights: expected one a class ({max(self.members) + 1}), got {len(weights)}"
            )
        shares = np.array([weights[label] for label in self.members], float)
        if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() > 0):
            raise ConfigError(f"WeightedRandomSampler.weights: expected 0 or more, some above 0, got {weights!r:.200}")
        self.shares = shares / shares.sum()

    def counts(self, random: np.random.Generator) -> np.ndarray:
        return random.multinomial(self.length, self.shares)
