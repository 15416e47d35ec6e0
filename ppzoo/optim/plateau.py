"""The one schedule that looks at how the training goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ppzoo.optim.checks import require
from ppzoo.optim.schedule import SCHEDULES, RatedSchedule

OBSERVED = ("best", "cooldown_counter", "num_bad_epochs")
MOST_REDUCTIONS = 100_000  # a checkpoint may hold any number


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class ReduceOnPlateau(RatedSchedule):
    """The rate is multiplied by `factor` when the observed figure has not improved for more than `patience` times.

    `step()` is called once a training step, as for every schedule; `observe(figure)` after each evaluation, with its
    loss where `mode` is "min" and with the main metric where it is "max", the same figure on every process.
    What is observed during the warm-up does not count.

    A resumed run remembers its observations: the best value, and how often the rate was reduced. The rate itself is
    computed from that number by the options that hold now, so that another `learning_rate` or `factor` takes effect.
    With another `mode` the best value is one of another metric, and is forgotten.

    Args:
        mode: "min": lower is better; "max": higher is better.
        factor: what the rate is multiplied by.
        patience: observations without improvement that are borne.
        threshold: least improvement that counts: a share of the best ("rel") or a difference ("abs").
        cooldown: observations that do not count after a reduction.
        min_lr: the rate never goes below.
        epsilon: a smaller change of the rate is left out.
    """

    needs_evaluation = True

    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    epsilon: float = 1e-8

    def prepare(self) -> None:
        require(self.mode in ("min", "max"), "mode min or max", self.mode)
        require(self.threshold_mode in ("rel", "abs"), "threshold_mode rel or abs", self.threshold_mode)
        require(0 < self.factor < 1, "factor between 0 and 1", self.factor)
        for name in ("patience", "threshold", "cooldown", "min_lr", "epsilon"):
            require(getattr(self, name) >= 0, f"{name} of 0 or more", getattr(self, name))
        self.reductions = 0
        self.share = 1.0  # of the learning rate: where a checkpoint that says no more than its rate continues
        self.best: float | None = None
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def state_keys(self) -> None:
        self.keys = ["last_epoch", "last_lr", "mode", "reductions", "share", *OBSERVED]

    def decayed(self, unit: int) -> float:
        return self._rates(self.reductions)[-1]

    def _rates(self, reductions: int) -> list[float]:
        """The rates of so many reductions, from the first rate on; one that would change the rate too little ends."""
        rates = [self.learning_rate * self.share]
        for _ in range(reductions):
            reduced = max(rates[-1] * self.factor, self.min_lr)
            if rates[-1] - reduced <= self.epsilon:
                break
            rates.append(reduced)
        return rates

    def set_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue with the state of this schedule, or of another one, which has observed nothing."""
        if "reductions" in state_dict:
            self.reductions = min(state_dict["reductions"], MOST_REDUCTIONS)
            self.share = state_dict["share"]
        elif "rate" in state_dict:  # written by ppzoo before it counted reductions
            self._start_at(state_dict["rate"])
        if state_dict.get("mode", self.mode) == self.mode:
            self._remember(state_dict)
        super().set_state_dict(state_dict)

    def _start_at(self, rate: float) -> None:
        """Continue with a rate of which is unknown how often it was reduced, and from what."""
        rates = self._rates(MOST_REDUCTIONS)
        if rate in rates:
            self.reductions = rates.index(rate)
        else:
            self.share = rate / self.learning_rate

    def _remember(self, saved: Mapping[str, Any]) -> None:
        for name in OBSERVED:
            setattr(self, name, saved.get(name, getattr(self, name)))

    def note_evaluation(self, loss: float, main: float) -> None:
        """Look at the loss, or with mode "max" at the main figure."""
        self.observe(loss if self.mode == "min" else main)

    def adopt(self, epoch: int, saved: Mapping[str, Any]) -> None:
        """PaddleClas looks at the main figure in either mode: what it remembers of that suits "max" alone."""
        plateau = saved.get("LinearWarmup_LR", saved)
        if "best" in plateau:
            self._start_at(float(plateau["last_lr"]))
            if self.mode == "max":
                self._remember({**plateau, "best": float(plateau["best"])})
        super().adopt(epoch, saved)

    def observe(self, figure: float) -> None:
        """Take note of an evaluation's figure; the new rate holds from the next training step on."""
        if self.unit < self.warmup:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            return
        if self._is_better(figure):
            self.best = figure
            self.num_bad_epochs = 0
            return
        self.num_bad_epochs += 1
        if self.num_bad_epochs > self.patience:
            self.num_bad_epochs = 0
            self.cooldown_counter = self.cooldown
            self.reductions = len(self._rates(self.reductions + 1)) - 1
            self.last_lr = self.get_lr()

    def _is_better(self, figure: float) -> bool:
        if self.best is None or math.isnan(figure):
            return not math.isnan(figure)
        margin = self.threshold * self.best if self.threshold_mode == "rel" else self.threshold
        return figure < self.best - margin if self.mode == "min" else figure > self.best + margin
