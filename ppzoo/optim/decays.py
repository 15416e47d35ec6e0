"""Schedules that go down: along a line, along a cosine, or in steps."""

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
    """The same rate throughout."""

    def decayed(self, unit: int) -> float:
        return self.learning_rate


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Constant(ConstLR):
    """The same rate throughout. PaddleClas's drops a warm-up in silence; this one carries it out."""

    is_default = True


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Linear(RatedSchedule):
    """Falls to `end_lr` at the end of the run as (1 - t / T) ** power: in a straight line by default.

    With `cycle` it falls again after each T units, from what (1 - t / kT) ** power then is in the k-th cycle.
    """

    end_lr: float = 0.0
    power: float = 1.0
    cycle: bool = False

    def prepare(self) -> None:
        require(self.end_lr >= 0, "end_lr of 0 or more", self.end_lr)
        require(self.power > 0, "power above 0", self.power)

    def decayed(self, unit: int) -> float:
        length = self.span
        if self.cycle:
            length *= max(math.ceil(unit / length), 1)
        left = 1 - min(unit, length) / length
        return self.end_lr + (self.learning_rate - self.end_lr) * left**self.power


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Cosine(RatedSchedule):
    """Half a cosine from `learning_rate` to `eta_min`: Loshchilov and Hutter, SGDR, arXiv:1608.03983, no restarts.

    The rate in force is `schedule()`, as for every schedule. `schedule.get_lr()` is what PaddleClas logs: without a
    warm-up PaddlePaddle's cosine computes the next rate from the last one, and between two steps returns one ratio too
    many.
    """

    eta_min: float = 0.0

    def prepare(self) -> None:
        require(self.eta_min >= 0, "eta_min of 0 or more", self.eta_min)

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
    """Multiplied by `gamma` every `step_size` epochs."""

    step_size: float
    gamma: float = 0.1

    def prepare(self) -> None:
        self.interval = int(self.step_size * self.units_per_epoch)
        require(self.interval > 0, f"step_size of {1 / self.units_per_epoch:g} epochs or more", self.step_size)
        require(0 < self.gamma < 1, "gamma between 0 and 1", self.gamma)

    def decayed(self, unit: int) -> float:
        return self.learning_rate * self.gamma ** (unit // self.interval)


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class MultiStepDecay(RatedSchedule):
    """Multiplied by `gamma` at each of `milestones`, in epochs."""

    milestones: list[int]
    gamma: float = 0.1

    def prepare(self) -> None:
        require_rising("milestones", self.milestones)
        require(0 < self.gamma < 1, "gamma between 0 and 1", self.gamma)

    def decayed(self, unit: int) -> float:
        passed = sum(epoch * self.units_per_epoch <= unit for epoch in self.milestones)
        return self.learning_rate * self.gamma**passed


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Piecewise(Schedule):
    """`values[i]` up to `decay_epochs[i]`, and the last value from the last of them on.

    PaddleClas's files give `learning_rate` too, and PaddleClas then puts a decay by 10 every 30 epochs in the place
    of the values. Here the values are what counts, and a `learning_rate` that differs from the first is said so.
    """

    decay_epochs: list[int]
    values: list[float]
    learning_rate: float | None = None

    def prepare(self) -> None:
        require_rising("decay_epochs", self.decay_epochs)
        wanted = len(self.decay_epochs) + 1
        require(len(self.values) == wanted, f"{wanted} values, one more than decay_epochs", self.values)
        require(min(self.values) >= 0, "values of 0 or more", self.values)
        if self.learning_rate not in (None, self.values[0]):
            log.warning(
                "Piecewise takes its rates from values %s; learning_rate %s is not used",
                self.values,
                self.learning_rate,
            )

    @property
    def peak(self) -> float:
        return self.values[0]

    def decayed(self, unit: int) -> float:
        return self.values[sum(epoch * self.units_per_epoch <= unit for epoch in self.decay_epochs)]


def require_rising(name: str, epochs: list[int]) -> None:
    rising = all(earlier < later for earlier, later in pairwise([0, *epochs]))
    require(rising, f"{name} as epochs above 0 in rising order", epochs)
