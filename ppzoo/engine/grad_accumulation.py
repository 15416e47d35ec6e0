"""Training steps of several batches, whose gradients are accumulated, and epochs of a given number of batches.

A step over k batches of B images has the gradient of one batch of k x B images: each batch is weighted by its number of
images (or by the weights of its labels, see `Trainer`).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import islice

from ppzoo.engine.protocols import Batch, Loader
from ppzoo.errors import ConfigError

ROLLBACK_OFFSET = 1_000_000  # each rollback adds this to the number of a pass, which determines its shuffling


class StepLoader:
    """The training steps of each epoch; a step is a list of batches.

    Passes over the data follow each other without a gap: where an epoch is not as long as a pass, the next epoch starts
    in the middle of a pass. `len` is the number of steps of an epoch.

    Args:
        loader: the batches.
        update_freq: batches per step. The batches after an epoch's last full step form a smaller step.
        iter_per_epoch: batches per epoch; by default those of a pass over the data.
        drop_last: skip the smaller step.

    Attributes:
        rollbacks: how often the run was rolled back; after each rollback, the data are shuffled differently.

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
                f"Global.update_freq: expected at most {self.batches_per_epoch}, the number of batches per epoch, since"
                f" sampler.drop_last is set, got {update_freq}"
            )

    def __len__(self) -> int:
        return self.count

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Batch], None, None]:
        """Yield the epoch's steps from number `start_step` on, without the batches that have no readable image."""
        start = start_step * self.update_freq
        end = min(self.count * self.update_freq, self.batches_per_epoch)
        with closing(self._batches(epoch * self.batches_per_epoch + start, end - start)) as batches:
            while step := list(islice(batches, self.update_freq)):
                yield [batch for batch in step if batch is not None]

    def _batches(self, first: int, count: int) -> Generator[Batch | None, None, None]:
        """Yield `count` batches of the passes over the data, starting with number `first`."""
        while count > 0:
            number, start = divmod(first, len(self.loader))
            taken = min(count, len(self.loader) - start)
            with closing(self.loader.epoch(number + self.rollbacks * ROLLBACK_OFFSET, start)) as batches:
                yield from islice(batches, taken)
            first, count = first + taken, count - taken
