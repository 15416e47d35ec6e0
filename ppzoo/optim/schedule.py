"""What all learning-rate schedules share: units of time, the warm-up, and a state that a checkpoint can hold.

A schedule is a closed formula of the training step. A formula has no memory: the rate at a step is the same whether
the run came there without a stop or was resumed, and its state is the step. A run that is resumed with other options
(more epochs, another learning rate, another schedule) has at each step the rate that these options give it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paddle.optimizer.lr import LRScheduler

from ppzoo.optim.checks import require
from ppzoo.registry import Registry

SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


@dataclass(eq=False, kw_only=True)
class Schedule(LRScheduler):
    """A learning rate that is stepped once a training step, with `by_epoch` too.

    The constructors take by position what the run knows, and by name what the configuration says.

    A warm-up rises in a straight line from `warmup_start_lr` to the schedule's first rate. The formula starts where
    the warm-up ends, so boundaries and milestones count from there, as in PaddleClas.

    Args:
        epochs: length of the run.
        steps_per_epoch: training steps of an epoch.
        warmup_epoch: length of the warm-up, in epochs; a fraction is rounded to whole steps.
        warmup_start_lr: rate of the first step of the warm-up.
        last_epoch: index of the step (of the epoch, with `by_epoch`) before the first one; -1 for a whole run.
        by_epoch: the rate changes at the ends of epochs only.
        verbose: print the rate at every step.

    Attributes:
        units_per_epoch: time goes in units: of a step, or of an epoch with `by_epoch`.
        total, warmup: length of the run and of the warm-up, in units.
        first_step: index of the run's first step: 0, but for `last_epoch`.
        damping: factor on all rates, for a run that was rolled back.

    Raises:
        ConfigError: a value that is out of its range, or a warm-up that is as long as the run.
    """

    epochs: int = field(kw_only=False)
    steps_per_epoch: int = field(kw_only=False)
    warmup_epoch: float = 0
    warmup_start_lr: float = 0.0
    last_epoch: int = -1
    by_epoch: bool = False
    verbose: bool = False

    damping = 1.0

    def __post_init__(self) -> None:
        require(self.epochs > 0, "epochs above 0", self.epochs)
        require(self.steps_per_epoch > 0, "one training step an epoch or more", self.steps_per_epoch)
        require(self.last_epoch >= -1, "last_epoch of -1 or more", self.last_epoch)
        self.units_per_epoch = 1 if self.by_epoch else self.steps_per_epoch
        self.total = self.epochs * self.units_per_epoch
        self.warmup = self._warmup_units()
        self.prepare()
        if self.warmup:
            require(self.peak > self.warmup_start_lr, f"warmup_start_lr below {self.peak}", self.warmup_start_lr)
        self.first_step = (self.last_epoch + 1) * (self.steps_per_epoch if self.by_epoch else 1)
        super().__init__(float(self.peak), self.first_step - 1, self.verbose)

    def _warmup_units(self) -> int:
        in_run = 0 <= self.warmup_epoch < self.epochs
        require(in_run, f"warmup_epoch of 0 or more and below the run's {self.epochs} epochs", self.warmup_epoch)
        require(self.warmup_start_lr >= 0, "warmup_start_lr of 0 or more", self.warmup_start_lr)
        if self.by_epoch:
            whole = float(self.warmup_epoch).is_integer()
            require(whole, "a whole number as warmup_epoch, since by_epoch is set", self.warmup_epoch)
        return round(self.warmup_epoch * self.units_per_epoch)

    @property
    def peak(self) -> float:
        """The rate that the warm-up ends at."""
        raise NotImplementedError

    @property
    def span(self) -> int:
        """Units from the end of the warm-up to the end of the run."""
        return max(self.total - self.warmup, 1)

    def prepare(self) -> None:
        """Check the options; `total`, `warmup` and `units_per_epoch` are known by now."""

    def decayed(self, unit: int) -> float:
        """The rate `unit` units after the end of the warm-up."""
        raise NotImplementedError

    def note_evaluation(self, loss: float, main: float) -> None:
        """Called after each evaluation with its loss and its main figure; most schedules do not care."""

    def state_dict(self) -> dict[str, Any]:
        """The state as PaddlePaddle's own schedules write it, from which PaddleClas can go on.

        `last_epoch` counts units, and what follows a warm-up has a state of its own within; "step" is for ppzoo.
        """
        state = {**super().state_dict(), "first_step": self.first_step}
        after = max(self.unit - self.warmup, 0)
        inner = {**state, "last_epoch": after, "last_lr": self.decayed(after)}
        if self.warmup:
            state["LinearWarmup_LR"] = inner
        if self.by_epoch:
            state |= {"last_epoch": self.unit, "step": self.last_epoch}
        return state

    def set_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue after as many steps as the schedule had made whose state this is, whatever its options were."""
        step = state_dict.get("step", state_dict["last_epoch"])
        self.step(step - state_dict.get("first_step", self.first_step) + self.first_step)

    def adopt(self, epoch: int, saved: Mapping[str, Any]) -> None:
        """Stand where PaddleClas's schedule stood, with the state `saved`, after `epoch` epochs.

        Its count is of steps, or of epochs with `by_epoch`, and of its own number of devices; the epoch is what holds.
        """
        self.step(self.first_step + epoch * self.steps_per_epoch)

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next step, or to the one of that index."""
        super().step(self.last_epoch + 1 if epoch is None else epoch)

    @property
    def unit(self) -> int:
        """Index of the current unit; PaddlePaddle keeps the index of the step in `last_epoch`."""
        return self.last_epoch // self.steps_per_epoch if self.by_epoch else self.last_epoch

    def __call__(self) -> float:
        """The rate in force: that of the schedule, times `damping`."""
        return self.damping * self.last_lr

    def get_lr(self) -> float:
        """The rate at the current step."""
        return self._get_closed_form_lr()

    def _get_closed_form_lr(self) -> float:  # PaddlePaddle's step(epoch) looks for this name
        if self.unit < self.warmup:
            return self.warmup_start_lr + (self.peak - self.warmup_start_lr) * self.unit / self.warmup
        return self.decayed(self.unit - self.warmup)


@dataclass(eq=False, kw_only=True)
class RatedSchedule(Schedule):
    """A schedule whose first rate is its option `learning_rate`."""

    learning_rate: float

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "learning_rate above 0", self.learning_rate)
        super().__post_init__()

    @property
    def peak(self) -> float:
        return self.learning_rate
