"""Schedules that decrease: linearly, along a cosine, or in steps."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import pairwise

from ppzoo.optim.checks import require
from ppzoo.optim.schedule import SCHEDULES, RatedSchedule, Schedule

log = logging.getLogger(__name__)


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class ConstLR(RatedSchedule):
    """A constant rate after the warm-up."""

    def decayed(self, unit: int) -> float:
        return self.learning_rate


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Constant(ConstLR):
    """A constant rate after the warm-up; PaddleClas's `Constant` ignores the warm-up."""

    is_default = True


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Linear(RatedSchedule):
    """Polynomial decay from `learning_rate` to `end_lr`, by (1 - t / T) ** power in step t of T; linear by default.

    T is the length of the run after the warm-up. With `cycle` the decay restarts after every T units, in the k-th cycle
    as (1 - t / kT) ** power.

    Args:
        cycle: restart the decay after T steps, which only a run with `last_epoch` exceeds.
    """

    end_lr: float = 0.0
    power: float = 1.0
    cycle: bool = False

    def prepare(self) -> None:
        require(self.end_lr >= 0, "end_lr", "a number of at least 0", self.end_lr)
        require(self.power > 0, "power", "a number above 0", self.power)

    def decayed(self, unit: int) -> float:
        length = self.span
        if self.cycle:
            length *= max(math.ceil(unit / length), 1)
        left = 1 - min(unit, length) / length
        return self.end_lr + (self.learning_rate - self.end_lr) * left**self.power


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Cosine(RatedSchedule):
    """Half a cosine from `learning_rate` to `eta_min`: Loshchilov and Hutter, SGDR, arXiv:1608.03983, without restarts.

    The current rate is `schedule()`, as for every schedule. `schedule.get_lr()` returns the rate that PaddleClas logs:
    without a warm-up PaddlePaddle's cosine computes the next rate from the last one by a ratio, and between two steps
    `get_lr` returns a rate with that ratio applied once too often.
    """

    eta_min: float = 0.0

    def prepare(self) -> None:
        require(self.eta_min >= 0, "eta_min", "a number of at least 0", self.eta_min)

    def decayed(self, unit: int) -> float:
        return self.eta_min + (self.learning_rate - self.eta_min) * self._height(unit) / 2

    def get_lr(self) -> float:
        rate = super().get_lr()
        if self.warmup or self.by_epoch or not 0 < self.unit <= self.span:
            return rate
        return self.eta_min + (rate - self.eta_min) * self._height(self.unit) / self._height(self.unit - 1)

    def _height(self, unit: int) -> float:
        return 1 + math.cos(math.pi * min(unit, self.span) / self.span)


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Step(RatedSchedule):
    """The rate is multiplied by `gamma` every `step_size` epochs."""

    step_size: float
    gamma: float = 0.1

    def prepare(self) -> None:
        self.interval = int(self.step_size * self.units_per_epoch)
        require(self.interval > 0, "step_size", f"at least {1 / self.units_per_epoch:g} epochs", self.step_size)
        require(0 < self.gamma < 1, "gamma", "a number above 0 and below 1", self.gamma)

    def decayed(self, unit: int) -> float:
        return self.learning_rate * self.gamma ** (unit // self.interval)


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class MultiStepDecay(RatedSchedule):
    """The rate is multiplied by `gamma` at each of the epochs in `milestones`.

    Args:
        step_each_epoch: has no effect, as in PaddleClas, which replaces it by the number of steps.
    """

    milestones: list[int]
    gamma: float = 0.1
    step_each_epoch: int | None = None

    def prepare(self) -> None:
        require_rising("milestones", self.milestones)
        require(0 < self.gamma < 1, "gamma", "a number above 0 and below 1", self.gamma)

    def decayed(self, unit: int) -> float:
        passed = sum(epoch * self.units_per_epoch <= unit for epoch in self.milestones)
        return self.learning_rate * self.gamma**passed


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Piecewise(Schedule):
    """The rate is `values[i]` before epoch `decay_epochs[i]`, and the last value after the last of these epochs.

    If there are as many `values` as `decay_epochs`, as in PaddleClas's StrongBaselineAttr.yaml, the last epoch has no
    effect. Older versions of PaddlePaddle do the same; 2.6 and 3 reject such options.

    PaddleClas's configurations contain `learning_rate`, too. If it is set, PaddleClas ignores `values` and divides the
    rate by 10 every 30 epochs.

    Args:
        learning_rate: accepted for PaddleClas's configurations, but `values` are used; a warning is logged if the first
            value is another one.
    """

    decay_epochs: list[int]
    values: list[float]
    learning_rate: float | None = None

    def prepare(self) -> None:
        require_rising("decay_epochs", self.decay_epochs)
        count = len(self.decay_epochs)
        without_last = len(self.values) == count > 0
        fits = without_last or len(self.values) == count + 1
        require(fits, "values", f"{count + 1} rates, one more than decay_epochs", self.values)
        require(min(self.values) >= 0, "values", "numbers of at least 0", self.values)
        if self.learning_rate not in (None, self.values[0]):
            log.warning(
                "Piecewise: ignoring learning_rate %s, using values %s",
                self.learning_rate,
                self.values,
            )
        if without_last:
            log.info(
                "Piecewise: epoch %s of decay_epochs has no effect: values has no rate after it, so the rate stays %s",
                self.decay_epochs[-1],
                self.values[-1],
            )

    @property
    def peak(self) -> float:
        return self.values[0]

    def decayed(self, unit: int) -> float:
        passed = sum(epoch * self.units_per_epoch <= unit for epoch in self.decay_epochs)
        return self.values[min(passed, len(self.values) - 1)]


def require_rising(name: str, epochs: list[int]) -> None:
    """Raise ConfigError unless the epochs are above 0 and in ascending order."""
    rising = all(earlier < later for earlier, later in pairwise([0, *epochs]))
    require(rising, name, "epochs above 0 in ascending order", epochs)
