"""Everything that decides the future of a run, in one place from which it can be saved and to which it can be restored.

The random state needs no saving: shuffling and augmentation draw from generators made of (seed, epoch, index), and
PaddlePaddle's own generator is seeded anew for each step from (seed, epoch, step).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import paddle


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs finished.
        step: steps finished within the epoch that is under way.
        best: best value so far of the main evaluation figure; `best_epoch` the epoch (from 0) that reached it.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int | None = None


class TrainState:
    """Model, optimizer, schedule and progress of one run.

    Args:
        model: the network, with its parameters and running statistics.
        optimizer: PaddlePaddle's optimizer over the model's parameters.
        schedule: the learning-rate schedule (`ppzoo.optim.Schedule`), stepped once a training step.
        seed: decides every random draw of the run.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        optimizer: paddle.optimizer.Optimizer,
        schedule: paddle.optimizer.lr.LRScheduler,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.seed = seed
        self.progress = Progress()

    def seed_step(self) -> None:
        """Seed PaddlePaddle's generator (dropout, drop-connect) for the step that is about to be made."""
        words = np.random.SeedSequence((self.seed, self.progress.epoch, self.progress.step)).generate_state(1)
        paddle.seed(int(words[0]))

    def apply_gradients(self) -> None:
        """One step of optimizer and schedule.

        The optimizer names its accumulators at its first step; a fresh scope gives them the same names in every run,
        so that a saved state fits another process and two runs fit in one.
        """
        with paddle.utils.unique_name.guard():
            self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        self.progress.step += 1

    def finish_epoch(self) -> None:
        self.progress.epoch += 1
        self.progress.step = 0

    def record(self, value: float, higher_is_better: bool) -> bool:
        """Note the evaluation figure of the epoch that has just ended; is it the best so far?"""
        best = self.progress.best
        is_best = best is None or (value > best if higher_is_better else value < best)
        if is_best:
            self.progress.best, self.progress.best_epoch = value, self.progress.epoch - 1
        return is_best

    def progress_dict(self) -> dict[str, Any]:
        """The progress as plain values, with the names that PaddleClas's `.pdstates` use first."""
        return {"metric": self.progress.best, **asdict(self.progress), "seed": self.seed}
