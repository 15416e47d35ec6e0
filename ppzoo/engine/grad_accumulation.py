"""Training steps made of batches: gradients are gathered over several, and an epoch may be a number of batches.

A step over k batches of B images makes the gradient of one batch of k x B: each batch counts by its images.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice

from ppzoo.engine.protocols import Batch, Loader
from ppzoo.errors import ConfigError

APART = 1_000_000  # passes, from the numbers of one shuffle to those of the next


class StepLoader:
    """The steps of epochs, each the list of the batches that it is made of.

    Passes over the data follow each other without a gap: where an epoch is not as long as a pass, the next one goes on
    in the middle of it. `len` is the number of steps of an epoch.

    Args:
        loader: the batches.
        update_freq: batches a step. What remains after an epoch's last full step makes a smaller one.
        iter_per_epoch: batches an epoch; by default those of a pass over the data.
        drop_last: leave out the smaller step.

    Attributes:
        rollbacks: how often the run was rolled back; each time the data are shuffled otherwise.

    Raises:
        ConfigError: no step remains.
    """

    def __init__(
        self, loader: Loader, *, update_freq: int = 1, iter_per_epoch: int | None = None, drop_last: bool = False
    ) -> None:
        self.loader, self.update_freq = loader, update_freq
        self.rollbacks = 0
        self.batches_per_epoch = iter_per_epoch or len(loader)
        full, rest = divmod(self.batches_per_epoch, update_freq)
        self.count = full + bool(rest and not drop_last)
        if not self.count:
            raise ConfigError(
                f"Global.update_freq: expected at most the {self.batches_per_epoch} batches of an epoch, since"
                f" sampler.drop_last is set, got {update_freq}"
            )

    def __len__(self) -> int:
        return self.count

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[list[Batch]]:
        """The epoch's steps from `start_step` on, without the batches that are empty."""
        start = start_step * self.update_freq
        end = min(self.count * self.update_freq, self.batches_per_epoch)
        with closing(self._batches(epoch * self.batches_per_epoch + start, end - start)) as batches:
            while step := list(islice(batches, self.update_freq)):
                yield [batch for batch in step if batch is not None]

    def _batches(self, first: int, count: int) -> Generator[Batch | None, None, None]:
        """`count` batches of the passes over the data, from the one numbered `first` on."""
        while count > 0:
            number, place = divmod(first, len(self.loader))
            taken = min(count, len(self.loader) - place)
            with closing(self.loader.epoch(number + self.rollbacks * APART, place)) as batches:
                yield from islice(batches, taken)
            first, count = first + taken, count - taken
