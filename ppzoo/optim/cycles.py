"""Schedules that rise and fall: cyclical rates, the one-cycle policy, and FixMatch's cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ppzoo.optim.checks import require
from ppzoo.optim.schedule import SCHEDULES, RatedSchedule, Schedule


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class Cyclic(Schedule):
    """Cycles between two rates: Smith, "Cyclical Learning Rates", WACV 2017, arXiv:1506.01186.

    Args:
        base_learning_rate: lowest rate.
        max_learning_rate: highest rate of the cycle.
        step_size_up: length of the rise, in training steps (epochs with `by_epoch`).
        step_size_down: length of the fall, in the same unit; `step_size_up` by default.
        mode: the amplitude is constant ("triangular"), halves with every cycle ("triangular2"), or is multiplied by
            `exp_gamma` with every step ("exp_range").
        exp_gamma: factor on the amplitude with mode "exp_range", above 0 and at most 1.
    """

    base_learning_rate: float
    max_learning_rate: float
    step_size_up: int
    step_size_down: int | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    exp_gamma: float = 1.0

    def prepare(self) -> None:
        require(self.base_learning_rate > 0, "base_learning_rate", "a number above 0", self.base_learning_rate)
        above = self.max_learning_rate >= self.base_learning_rate
        least = f"at least base_learning_rate ({self.base_learning_rate})"
        require(above, "max_learning_rate", least, self.max_learning_rate)
        require(self.step_size_up > 0, "step_size_up", "a number above 0", self.step_size_up)
        down = self.step_size_up if self.step_size_down is None else self.step_size_down
        require(down > 0, "step_size_down", "a number above 0", self.step_size_down)
        modes = ("triangular", "triangular2", "exp_range")
        require(self.mode in modes, "mode", f"one of {', '.join(map(repr, modes))}", self.mode)
        require(0 < self.exp_gamma <= 1, "exp_gamma", "a number above 0 and at most 1", self.exp_gamma)
        self.length = self.step_size_up + down

    @property
    def peak(self) -> float:
        return self.base_learning_rate

    def decayed(self, unit: int) -> float:
        cycle, within = divmod(unit, self.length)
        if within <= self.step_size_up:
            height = within / self.step_size_up
        else:
            height = (self.length - within) / (self.length - self.step_size_up)
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.exp_gamma**unit}[self.mode]
        return self.base_learning_rate + (self.max_learning_rate - self.base_learning_rate) * height * scale


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class OneCycleLR(Schedule):
    """One rise and one fall over the run: Smith and Topin, "Super-Convergence", arXiv:1708.07120.

    A `warmup_epoch` delays the cycle: the run then ends before the cycle does.

    Args:
        max_learning_rate: highest rate.
        divide_factor: the cycle starts at `max_learning_rate` / `divide_factor`.
        end_learning_rate: last rate of the cycle.
        phase_pct: fraction of the run that the rise takes, above 0 and below 1 (below 0.5 with `three_phase`).
        anneal_strategy: "cos" or "linear" interpolation.
        three_phase: after the rise, fall to the first rate in as many steps, then to the last rate; if false, fall to
            the last rate directly.
    """

    max_learning_rate: float
    divide_factor: float = 25.0
    end_learning_rate: float = 1e-10
    phase_pct: float = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    three_phase: bool = False

    def prepare(self) -> None:
        require(self.max_learning_rate > 0, "max_learning_rate", "a number above 0", self.max_learning_rate)
        require(self.divide_factor > 0, "divide_factor", "a number above 0", self.divide_factor)
        require(self.end_learning_rate >= 0, "end_learning_rate", "a number of at least 0", self.end_learning_rate)
        top = 0.5 if self.three_phase else 1
        require(0 < self.phase_pct < top, "phase_pct", f"a number above 0 and below {top}", self.phase_pct)
        require(self.anneal_strategy in ("cos", "linear"), "anneal_strategy", "'cos' or 'linear'", self.anneal_strategy)
        rise, last = self.phase_pct * self.total - 1, self.total - 1
        start = self.max_learning_rate / self.divide_factor
        self.corners = [(0.0, start), (rise, self.max_learning_rate)]
        if self.three_phase:
            self.corners.append((2 * rise, start))
        self.corners.append((last, self.end_learning_rate))

    @property
    def peak(self) -> float:
        return self.max_learning_rate

    def decayed(self, unit: int) -> float:
        unit = min(unit, self.total - 1)
        right = next(n for n, (end, _) in enumerate(self.corners) if n and (unit <= end or n == len(self.corners) - 1))
        (begin, low), (end, high) = self.corners[right - 1], self.corners[right]
        share = (unit - begin) / (end - begin) if end != begin else 1.0
        if self.anneal_strategy == "cos":
            return high + (low - high) * (1 + math.cos(math.pi * share)) / 2
        return low + (high - low) * share


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class CosineFixmatch(RatedSchedule):
    """A linear rise from 0, then a part of a cosine: Sohn et al., FixMatch, arXiv:2001.07685, section 2.4.

    Args:
        learning_rate: the rate at the end of the rise, from which the cosine falls, above 0.
        num_warmup_steps: length of the rise, in training steps (epochs with `by_epoch`).
        num_cycles: number of half periods of the cosine, above 0. In step t of the T steps after the rise, the rate is
            learning_rate * cos(pi * num_cycles * t / T), or 0 where the cosine is negative.
    """

    num_warmup_steps: int
    num_cycles: float = 7 / 16

    def prepare(self) -> None:
        in_run = 0 <= self.num_warmup_steps < self.total
        units = "epochs" if self.by_epoch else "steps"
        steps = f"a number of at least 0 and below {self.total}, the {units} of the run"
        require(in_run, "num_warmup_steps", steps, self.num_warmup_steps)
        require(self.num_cycles > 0, "num_cycles", "a number above 0", self.num_cycles)

    def decayed(self, unit: int) -> float:
        if unit < self.num_warmup_steps:
            return self.learning_rate * unit / self.num_warmup_steps
        share = (unit - self.num_warmup_steps) / (self.total - self.num_warmup_steps)
        return self.learning_rate * max(0.0, math.cos(math.pi * self.num_cycles * share))
