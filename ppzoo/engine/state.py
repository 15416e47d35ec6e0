"""Everything that decides the future of a run, in one place from which it can be saved and to which it can be restored.

The random state needs no saving: shuffling and augmentation draw from generators made of (seed, epoch, index), and
PaddlePaddle's own generator is seeded anew for each step from (seed, epoch, step).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import paddle

from ppzoo.engine.protocols import Metric
from ppzoo.engine.tally import Tally
from ppzoo.errors import CheckpointError


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
    """Model, optimizer, schedule, progress and running figures of one run.

    Args:
        model: the network, with its parameters and running statistics.
        optimizer: PaddlePaddle's optimizer over the model's parameters.
        schedule: the learning-rate schedule (`ppzoo.optim.Schedule`), stepped once a training step.
        metric: the training metric.
        seed: decides every random draw of the run.
        identity: what a checkpoint must share with the run that goes on from it, by name (architecture, data, ...).
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        optimizer: paddle.optimizer.Optimizer,
        schedule: Any,
        metric: Metric,
        *,
        seed: int = 0,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.tally = Tally(metric)
        self.seed = seed
        self.identity = dict(identity or {})
        self.progress = Progress()

    def seed_step(self) -> None:
        """Seed PaddlePaddle's generator (dropout, drop-connect) for the step that is about to be made."""
        words = np.random.SeedSequence((self.seed, self.progress.epoch, self.progress.step)).generate_state(1)
        paddle.seed(int(words[0]))

    def gradients_are_finite(self) -> bool:
        """Whether all gradients are; a sum is finite only if all that is summed is."""
        sums = [parameter.grad.sum() for parameter in self.model.parameters() if parameter.grad is not None]
        return math.isfinite(float(paddle.add_n(sums)))

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
        self.tally.reset()

    def record(self, value: float, higher_is_better: bool) -> bool:
        """Note the evaluation figure of the epoch that has just ended; is it the best so far?"""
        best = self.progress.best
        is_best = best is None or (value > best if higher_is_better else value < best)
        if is_best:
            self.progress.best, self.progress.best_epoch = value, self.progress.epoch - 1
        return is_best

    def progress_dict(self) -> dict[str, Any]:
        """All but tensors, as plain values; "metric" and "epoch" are what PaddleClas looks for in a `.pdstates`."""
        return {
            "metric": self.progress.best,
            **asdict(self.progress),
            "tally": self.tally.state(),
            "identity": self.identity,
            "versions": {"paddle": paddle.__version__, "numpy": np.__version__},
        }

    def restore_progress(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `progress_dict` said; a PaddleClas checkpoint says only "epoch" and "metric".

        Raises:
            CheckpointError: it belongs to another run.
        """
        for name, received in saved.get("identity", {}).items():
            expected = self.identity.get(name, received)
            if expected != received:
                raise CheckpointError(f"the checkpoint's {name} is {received!r}, this configuration's is {expected!r}")
        known = {field.name for field in fields(Progress)}
        self.progress = Progress(**{name: value for name, value in saved.items() if name in known})
        if "best" not in saved:
            self.progress.best = saved.get("metric")
        if "tally" in saved:
            self.tally.restore(saved["tally"])
