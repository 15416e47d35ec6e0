"""Everything that decides the future of a run, in one place from which it can be saved and to which it can be restored.

The random state needs no saving: shuffling and augmentation draw from generators made of (seed, epoch, index), and
PaddlePaddle's own generator is seeded anew for each step from (seed, epoch, step).
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import paddle

import ppzoo
from ppzoo import native
from ppzoo.engine.amp import MixedPrecision
from ppzoo.engine.early_stopping import EarlyStopping
from ppzoo.engine.ema import ExponentialMovingAverage
from ppzoo.engine.protocols import Metric, Resumable
from ppzoo.engine.running_metrics import RunningMetrics
from ppzoo.errors import CheckpointError
from ppzoo.finite import require_finite_metrics
from ppzoo.native import operators

VERSIONS = {
    "ppzoo": ppzoo.__version__,
    "paddle": paddle.__version__,
    "numpy": np.__version__,
    "python": platform.python_version(),
}
BESIDE_ACCUMULATORS = {"LR_Scheduler", "master_weights"}


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs finished.
        step: steps finished within the epoch that is under way.
        best: best value so far of the main evaluation figure; `best_epoch` the epoch (from 0) that reached it, and
            `best_is_averaged` whether the averaged weights did.
        rollbacks: how often the run was rolled back because numbers were not finite.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int | None = None
    best_is_averaged: bool = False
    rollbacks: int = 0


class TrainState:
    """Model, optimizer, schedule, progress and running figures of one run.

    Args:
        model: the network, with its parameters and running statistics.
        optimizer: PaddlePaddle's optimizer over the model's parameters.
        schedule: the learning-rate schedule (`ppzoo.optim.Schedule`), stepped once a training step.
        metric: the training metric.
        seed: decides every random draw of the run.
        identity: what a checkpoint must share with the run that goes on from it, by name (architecture, data, ...).
        configuration: what else the run was asked for; a checkpoint holds it, and a difference is said.
        precision: in which numbers the network computes.
        average: the moving average of the weights, if one is kept.
        patience: when to stop before the last epoch, if ever.
        reading: what reads the training data, whose `state` tells of the samples that it left out.
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
        configuration: Mapping[str, Any] | None = None,
        precision: MixedPrecision | None = None,
        average: ExponentialMovingAverage | None = None,
        patience: EarlyStopping | None = None,
        reading: Resumable | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.tally = RunningMetrics(metric)
        self.seed = seed
        self.identity, self.configuration = dict(identity or {}), dict(configuration or {})
        self.precision, self.average, self.patience = precision or MixedPrecision(), average, patience
        self.reading = reading
        self.progress = Progress()

    def seed_step(self, rank: int = 0) -> None:
        """Seed PaddlePaddle's generator (dropout, drop-connect) for the step that is about to be made.

        Args:
            rank: number of this process, for each draws its own.
        """
        place = (self.seed, self.progress.epoch, self.progress.step, *([rank] if rank else []))
        words = np.random.SeedSequence(place).generate_state(1)
        paddle.seed(int(words[0]))

    def gradients_are_finite(self) -> bool:
        """Whether all gradients are, and take the scale of the loss out of them."""
        if self.precision.scaler is not None:
            self.precision.scaler.unscale(self.model.parameters())
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if native.is_enabled() and operators.are_contiguous_float32(gradients):
            return operators.all_finite(gradients)
        # A sum is finite only if all that is summed is.
        return math.isfinite(float(paddle.add_n([gradient.sum() for gradient in gradients])))

    def update(self, apply: bool = True) -> None:
        """One step of optimizer and schedule; without `apply`, where the gradients overflowed, of the schedule alone.

        The optimizer names its accumulators at its first step; a fresh scope gives them the same names in every run,
        so that a saved state fits another process and two runs fit in one.
        """
        if self.precision.scaler is not None:
            self.precision.scaler.note(apply)
        if apply:
            with paddle.utils.unique_name.guard():
                self.optimizer.step()
            if self.average is not None:
                self.average.update(self.model)
        self.optimizer.clear_grad(set_to_zero=False)
        self.pass_over()

    def pass_over(self) -> None:
        """Go on to the next step without a change of the weights."""
        self.schedule.step()
        self.progress.step += 1

    def finish_epoch(self) -> None:
        self.progress.epoch += 1
        self.progress.step = 0
        self.tally.reset()

    def record(self, value: float, higher_is_better: bool, is_averaged: bool = False) -> bool:
        """Note the evaluation figure of the epoch that has just ended; is it the best so far?

        Args:
            is_averaged: it is that of the averaged weights.

        Raises:
            TrainingError: it is not finite.
        """
        require_finite_metrics({"main metric": value})
        if self.patience is not None:
            self.patience.note(value)
        best = self.progress.best
        is_best = best is None or (value > best if higher_is_better else value < best)
        if is_best:
            self.progress.best, self.progress.best_epoch = value, self.progress.epoch - 1
            self.progress.best_is_averaged = is_averaged
        return is_best

    def progress_dict(self) -> dict[str, Any]:
        """All but tensors, as plain values; "metric" and "epoch" are what PaddleClas looks for in a `.pdstates`."""
        return {
            "metric": self.progress.best,
            **asdict(self.progress),
            "tally": self.tally.state(),
            "loss_scaler": self.precision.scaler and self.precision.scaler.state(),
            "average_updates": self.average and self.average.updates,
            "early_stopping": self.patience and self.patience.state(),
            "reading": self.reading and self.reading.state(),
            "identity": self.identity,
            "configuration": self.configuration,
            "versions": VERSIONS,
        }

    def require_identity(self, saved: Mapping[str, Any]) -> None:
        """
        Raises:
            CheckpointError: what `progress_dict` said is of another run, or of a step that this one does not have.
        """
        for name, received in saved.get("identity", {}).items():
            expected = self.identity.get(name, received)
            if received is not None and expected != received:  # None: older versions gave renumbered labels no names
                raise CheckpointError(f"the checkpoint's {name} is {received!r}, this configuration's is {expected!r}")
        step, steps = saved.get("step", 0), self.identity.get("steps per epoch", math.inf)
        if step > steps:
            raise CheckpointError(f"the checkpoint's step is {step}, but an epoch has {steps} steps")

    def restore_progress(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `progress_dict` said, or from what `adoption.progress_of` made of PaddleClas's."""
        known = {field.name for field in fields(Progress)}
        self.progress = Progress(**{name: value for name, value in saved.items() if name in known})
        if "tally" in saved:
            self.tally.restore(saved["tally"])
        if self.precision.scaler is not None and saved.get("loss_scaler"):
            self.precision.scaler.restore(saved["loss_scaler"])
        if self.average is not None:
            self.average.updates = saved.get("average_updates") or 0
        if self.patience is not None and saved.get("early_stopping"):
            self.patience.restore(saved["early_stopping"])
        if self.reading is not None and saved.get("reading"):
            self.reading.restore(saved["reading"])

    def require_accumulators(self, saved: Mapping[str, Any]) -> None:
        """Optimizer states are keyed by parameter name and accumulator: all parameters must be there, and no others.

        Raises:
            CheckpointError: they belong to another network.
        """
        keys = saved.keys() - BESIDE_ACCUMULATORS
        if not keys:
            return  # the optimizer gathers nothing, or has made no step
        owned: set[str] = set()
        for parameter in self.model.parameters():
            mine = {key for key in keys if key.startswith(f"{parameter.name}_")}
            if not mine and not parameter.stop_gradient:
                raise CheckpointError(f"its optimizer state has no entry of the parameter {parameter.name!r}")
            owned |= mine
        if keys - owned:
            raise CheckpointError(f"{min(keys - owned)!r} of its optimizer state belongs to no parameter here")
