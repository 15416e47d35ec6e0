"""The base class of learning-rate schedules: warm-up, units of time, and the state for checkpoints.

A schedule is a closed-form function of the training step, so the rate at a step is the same in a resumed run, and the
state is the step; only `ReduceOnPlateau` also depends on evaluations. A run resumed with other options (more epochs,
another learning rate or schedule) has at each step the rate of these options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paddle.optimizer.lr import LRScheduler

from ppzoo.optim.checks import require
from ppzoo.registry import Registry

SCHEDULES: Registry[type[Schedule]] = Registry("learning-rate schedule")


@dataclass(eq=False, kw_only=True)
class Schedule(LRScheduler):
    """A learning-rate schedule that is stepped once per training step, also with `by_epoch`.

    The constructors take the length of the run by position, and the options of the configuration by name.

    The warm-up rises linearly from `warmup_start_lr` to the schedule's first rate. The schedule starts when the warm-up
    ends, so boundaries and milestones count from there, as in PaddleClas.

    Args:
        epochs: number of epochs of the run.
        steps_per_epoch: training steps per epoch.
        warmup_epoch: length of the warm-up, in epochs; a fraction is rounded to steps.
        warmup_start_lr: rate of the first step of the warm-up.
        last_epoch: index of the step (of the epoch, with `by_epoch`) before the first one; -1: start at the beginning.
        by_epoch: change the rate at the end of epochs only.
        verbose: print the rate at every step.

    Attributes:
        units_per_epoch: number of time units per epoch; a unit is a step, or an epoch with `by_epoch`.
        total, warmup: length of the run and of the warm-up, in units.
        first_step: index of the run's first step: 0, unless `last_epoch` is given.
        damping: factor on all rates, for a run that was rolled back.

    Raises:
        ConfigError: a value out of its range, or a warm-up as long as the run.
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
        require(self.epochs > 0, "epochs", "a number above 0", self.epochs)
        require(self.steps_per_epoch > 0, "steps_per_epoch", "a number of at least 1", self.steps_per_epoch)
        require(self.last_epoch >= -1, "last_epoch", "an integer of at least -1", self.last_epoch)
        self.units_per_epoch = 1 if self.by_epoch else self.steps_per_epoch
        self.total = self.epochs * self.units_per_epoch
        self.warmup = self._warmup_units()
        self.prepare()
        if self.warmup:
            below_peak = f"a rate below {self.peak}, the rate after the warm-up"
            require(self.peak > self.warmup_start_lr, "warmup_start_lr", below_peak, self.warmup_start_lr)
        self.first_step = (self.last_epoch + 1) * (self.steps_per_epoch if self.by_epoch else 1)
        super().__init__(float(self.peak), self.first_step - 1, self.verbose)

    def _warmup_units(self) -> int:
        in_run = 0 <= self.warmup_epoch < self.epochs
        expected = f"a number of at least 0 and below {self.epochs} (the number of epochs)"
        require(in_run, "warmup_epoch", expected, self.warmup_epoch)
        require(self.warmup_start_lr >= 0, "warmup_start_lr", "a number of at least 0", self.warmup_start_lr)
        if self.by_epoch:
            is_integer = float(self.warmup_epoch).is_integer()
            require(is_integer, "warmup_epoch", "an integer, since by_epoch is set", self.warmup_epoch)
        return round(self.warmup_epoch * self.units_per_epoch)

    @property
    def peak(self) -> float:
        """The rate at the end of the warm-up."""
        raise NotImplementedError

    @property
    def span(self) -> int:
        """Units from the end of the warm-up to the end of the run."""
        return max(self.total - self.warmup, 1)

    def prepare(self) -> None:
        """Check the options; called when `total`, `warmup` and `units_per_epoch` are set."""

    def decayed(self, unit: int) -> float:
        """Return the rate `unit` units after the end of the warm-up."""
        raise NotImplementedError

    def record_evaluation(self, loss: float, main: float) -> None:
        """Update the schedule with the loss and the main metric of an evaluation; most schedules ignore them."""

    def discard_main_metric(self) -> None:
        """Discard the recorded values of the main metric, for a run that is resumed with another main metric."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state in the format of PaddlePaddle's schedules, from which PaddleClas can resume.

        `last_epoch` counts units. With a warm-up, the entry "LinearWarmup_LR" is the state of the schedule after it.
        Only ppzoo reads the entries "step" and "first_step".
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
        """Continue after the number of steps in a state, whatever the options of the schedule that saved it."""
        step = state_dict.get("step", state_dict["last_epoch"])
        self.step(step - state_dict.get("first_step", self.first_step) + self.first_step)

    def resume_from_paddleclas(self, epoch: int, saved: Mapping[str, Any]) -> None:
        """Continue from the state `saved` of PaddleClas's schedule after `epoch` epochs.

        The epoch determines the step, because the counter in `saved` depends on `by_epoch` and the number of devices.
        """
        self.step(self.first_step + epoch * self.steps_per_epoch)

    def step(self, epoch: int | None = None) -> None:
        """Advance to the next step, or to the step with index `epoch`."""
        super().step(self.last_epoch + 1 if epoch is None else epoch)

    @property
    def unit(self) -> int:
        """Index of the current unit; `last_epoch` is the index of the step."""
        return self.last_epoch // self.steps_per_epoch if self.by_epoch else self.last_epoch

    def __call__(self) -> float:
        """Return the current rate: that of the schedule times `damping`."""
        return self.damping * self.last_lr

    def get_lr(self) -> float:
        """Return the schedule's rate at the current step."""
        return self._get_closed_form_lr()

    def _get_closed_form_lr(self) -> float:  # PaddlePaddle's step(epoch) calls the method of this name
        if self.unit < self.warmup:
            return self.warmup_start_lr + (self.peak - self.warmup_start_lr) * self.unit / self.warmup
        return self.decayed(self.unit - self.warmup)


@dataclass(eq=False, kw_only=True)
class RatedSchedule(Schedule):
    """A schedule whose first rate is the option `learning_rate`."""

    learning_rate: float

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "learning_rate", "a number above 0", self.learning_rate)
        super().__post_init__()

    @property
    def peak(self) -> float:
        return self.learning_rate
