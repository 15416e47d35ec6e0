"""Samplers for training only: for unbalanced classes, with repeated images, or with several image sizes.

`ClassBalancedSampler` and `WeightedRandomSampler` are for unbalanced classes: an epoch still has as many samples as the
dataset, some of them repeated. `MultiScaleSampler` also chooses the size of the images of each batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ppzoo.data.samplers import SAMPLERS, DistributedBatchSampler
from ppzoo.data.samples import Key
from ppzoo.data.transforms.pixels import parse_size
from ppzoo.errors import ConfigError


@dataclass(eq=False, kw_only=True)
class _LabelSampler(DistributedBatchSampler):
    """Base of the samplers that draw by class.

    Args:
        batch_size, drop_last, seed, rank, world_size: see `DistributedBatchSampler`.
        shuffle: must be true, since the order is always random.
        labels: (N,) class of each sample.
        pad: must be True, since not all samples occur.

    Raises:
        ConfigError: `shuffle` is False, the samples have several labels each, or the data is for evaluation.
    """

    for_evaluation = False

    length: int = field(init=False)
    shuffle: bool = True
    labels: np.ndarray

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not self.shuffle:
            raise ConfigError(f"{name}.shuffle: expected True, got False; the order is always random")
        if np.ndim(self.labels) != 1:
            raise ConfigError(
                f"{name}: expected a dataset with one class per image, got several labels per image; "
                "use DistributedBatchSampler"
            )
        self.length = len(self.labels)
        super().__post_init__()
        order = np.argsort(self.labels, kind="stable")
        classes, starts = np.unique(np.asarray(self.labels)[order], return_index=True)
        self.members = dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))
        """Class -> indices of its samples, for each class that occurs."""

    def _order(self, epoch: int) -> np.ndarray:
        random = self.generator(epoch)
        indices = [
            _repeat(members, count, random)
            for members, count in zip(self.members.values(), self.counts(random), strict=True)
        ]
        return random.permutation(np.concatenate(indices))

    def counts(self, random: np.random.Generator) -> np.ndarray:
        """Return the number of samples of each class in an epoch, in the order of `members`."""
        raise NotImplementedError


def _repeat(members: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return `count` elements of `members`; the numbers of times that two elements occur differ by at most 1."""
    rounds, rest = divmod(int(count), len(members))
    return np.concatenate([np.tile(members, rounds), random.permutation(members)[:rest]])


@SAMPLERS.register
@dataclass(eq=False, kw_only=True)
class ClassBalancedSampler(_LabelSampler):
    """Equal numbers of samples of all classes in every epoch (they differ by at most 1)."""

    def counts(self, random: np.random.Generator) -> np.ndarray:
        share, rest = divmod(self.length, len(self.members))
        counts = np.full(len(self.members), share)
        counts[random.permutation(len(self.members))[:rest]] += 1
        return counts


@SAMPLERS.register
@dataclass(eq=False, kw_only=True)
class WeightedRandomSampler(_LabelSampler):
    """Classes drawn by given weights; the samples of a class are drawn as evenly as possible.

    Args:
        weights: weight of each class, from class 0 on: with [1, 3], class 1 is drawn three times as often as class 0.

    Raises:
        ConfigError: fewer weights than classes; or, for the classes that occur, a weight that is negative or not
            finite, or no weight above 0.
    """

    weights: list[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.weights) <= max(self.members):
            raise ConfigError(
                f"WeightedRandomSampler.weights: expected one weight per class ({max(self.members) + 1}), "
                f"got {len(self.weights)}"
            )
        probabilities = np.array([self.weights[label] for label in self.members], float)
        if not (np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() > 0):
            raise ConfigError(
                "WeightedRandomSampler.weights: expected weights of 0 or more, at least one above 0, "
                f"got {self.weights!r:.200}"
            )
        self.probabilities = probabilities / probabilities.sum()

    def counts(self, random: np.random.Generator) -> np.ndarray:
        return random.multinomial(self.length, self.probabilities)


@SAMPLERS.register_as("RASampler")
@SAMPLERS.register
@dataclass(eq=False, kw_only=True)
class RepeatedAugSampler(DistributedBatchSampler):
    """Repeat each image several times, with different random transforms: arXiv:1901.09335; alias `RASampler`.

    Hoffer et al.: "Augment your batch: better training with larger batches". As in DeiT and PaddleClas, each sample is
    repeated `num_repeats` times in succession, with different random transforms; the processes take these copies in
    turn, so that different processes see different copies.

    Args:
        batch_size, shuffle, drop_last, length, seed, rank, world_size: see `DistributedBatchSampler`.
        pad: must be True, since not all images occur.
        num_repeats: number of copies of each image, 1 or more. An epoch has as many samples as the dataset, so about
            1 / num_repeats of the images occur in it.
        selected_round: the number of samples of an epoch is rounded down to a multiple of this; 0: do not round.

    Raises:
        ConfigError: an option out of its range, data for evaluation, or no sample remains.
    """

    for_evaluation = False

    num_repeats: int = 3
    selected_round: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_repeats < 1:
            raise ConfigError(f"RepeatedAugSampler.num_repeats: expected 1 or more, got {self.num_repeats}")
        if self.selected_round < 0:
            raise ConfigError(f"RepeatedAugSampler.selected_round: expected 0 or more, got {self.selected_round}")
        rounded = self.length - self.length % self.selected_round if self.selected_round else self.length
        self.samples = rounded // self.world_size
        if self.samples < (self.batch_size if self.drop_last else 1):
            raise ConfigError(
                f"RepeatedAugSampler.selected_round: expected a batch for each of {self.world_size} processes, got "
                f"{rounded} samples ({self.length} rounded down to a multiple of {self.selected_round}); set "
                "selected_round to 0 or lower batch_size"
            )

    def __len__(self) -> int:
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Key]]:
        order = self._order(epoch)
        for step in range(start, len(self)):
            first = step * self.batch_size
            taken = np.arange(first, min(first + self.batch_size, self.samples))
            numbers, copies = np.divmod(taken * self.world_size + self.rank, self.num_repeats)
            indices = order[numbers].tolist()
            yield [
                (epoch, index, copy) if copy else (epoch, index)
                for index, copy in zip(indices, copies.tolist(), strict=True)
            ]


@SAMPLERS.register
@dataclass(eq=False, kw_only=True)
class MultiScaleSampler(DistributedBatchSampler):
    """Every sample once per epoch, in batches whose image size changes, as PaddleClas trains PPLCNetV2.

    The batches of an epoch use the sizes about equally often, in a random order that is the same on all processes. All
    batches have about as many pixels as those of the first size. The samples that remain after the last full step make
    one shorter step, as in `DistributedBatchSampler`.

    Args:
        batch_size: samples per step and process at the first of `scales` before rounding, called `first_bs` in
            PaddleClas.
        scales: sides of the square images in pixels; they are rounded down to multiples of `divided_factor`.
        divided_factor: the factor by which the network reduces its input, usually 32.
        shuffle, is_training: must be true.
        drop_last, length, seed, rank, world_size: see `DistributedBatchSampler`.
        pad: must be True, since evaluations need one size.

    Attributes:
        sizes: the rounded `scales`.

    Raises:
        ConfigError: an option out of its range, data for evaluation, or `drop_last` leaves no step.
    """

    for_evaluation = False
    renamed: ClassVar[dict[str, str]] = {"first_bs": "batch_size"}

    scales: list[int]
    divided_factor: int = 32
    shuffle: bool = True
    is_training: bool = True

    def __post_init__(self) -> None:
        self._check_options()
        self.sizes = [scale - scale % self.divided_factor for scale in self.scales]
        pixels = self.batch_size * self.scales[0] ** 2
        self.batch_sizes = np.array([max(1, pixels // size**2) for size in self.sizes])
        """Samples per step on each process, for each size."""
        super().__post_init__()
        cycles, rest = divmod(self.length, int(self.batch_sizes.sum()) * self.world_size)
        ends = np.cumsum(self.batch_sizes) * self.world_size
        more = int(np.searchsorted(ends, rest, side="right"))
        self.size_counts = cycles + (np.arange(len(self.sizes)) < more)
        """Full steps per epoch for each size: one more for the first `more` sizes; the shorter step has the next."""
        self.full_steps, self.last_size = int(self.size_counts.sum()), more
        self.remainder = rest - (int(ends[more - 1]) if more else 0)
        self._require_full_step(int(ends[0]))  # more samples than above if the first of `scales` was rounded down

    def _check_options(self) -> None:
        for name in ("shuffle", "is_training"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected True, got False; for one image size, use DistributedBatchSampler")
        if self.divided_factor < 1:
            raise ConfigError(f"divided_factor: expected 1 or more, got {self.divided_factor}")
        if not self.scales or min(self.scales) < self.divided_factor:
            raise ConfigError(
                f"scales: expected one or more sizes of at least divided_factor ({self.divided_factor}) pixels, got "
                f"{self.scales!r:.100}"
            )
        parse_size("scales", max(self.scales))

    def batches(self, epoch: int, start: int = 0) -> Iterator[list[Key]]:
        order, numbers = self._order(epoch), self._size_numbers(epoch)
        counts = self.batch_sizes[numbers]
        firsts = np.cumsum(counts) * self.world_size - counts * (self.world_size - self.rank)
        for step in range(start, len(self)):
            if step == self.full_steps:
                number, positions = self.last_size, self._last_batch()
            else:
                number, positions = int(numbers[step]), firsts[step] + np.arange(counts[step])
            yield [(epoch, int(index), 0, number) for index in order[positions]]

    def _size_numbers(self, epoch: int) -> np.ndarray:
        """Return the number of the size of each full step."""
        # The spawn key separates this random stream from those of samples (none), orders (0) and batch transforms (1).
        random = np.random.default_rng(np.random.SeedSequence((self.seed, epoch), spawn_key=(2,)))
        return random.permutation(np.repeat(np.arange(len(self.sizes)), self.size_counts))
