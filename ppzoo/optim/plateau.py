"""The schedule that depends on the results of evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ppzoo.optim.checks import require
from ppzoo.optim.schedule import SCHEDULES, RatedSchedule

# The attributes that `observe` changes and checkpoints contain.
OBSERVED = ("best", "cooldown_counter", "num_bad_epochs")
MAX_REDUCTIONS = 100_000  # limit of the number in a checkpoint, which is untrusted


@SCHEDULES.register
@dataclass(eq=False, kw_only=True)
class ReduceOnPlateau(RatedSchedule):
    """Multiplies the rate by `factor` when the observed metric has not improved for more than `patience` evaluations.

    `step()` is called once per training step, as for every schedule; `observe(value)` after each evaluation, with the
    loss if `mode` is "min" and the main metric if it is "max"; the value is the same on every process. Values during
    the warm-up are ignored.

    A resumed run restores the best value and the number of reductions. The rate is computed from that number and the
    current options, so that another `learning_rate` or `factor` takes effect. With another `mode` the best value is
    that of another metric, and is discarded.

    Args:
        mode: "min": observe the evaluation loss, lower is better; "max": observe the main metric (the first of
            `Metric.Eval`), higher is better.
        factor: factor of a reduction, between 0 and 1.
        patience: number of evaluations without improvement that are allowed before a reduction.
        threshold: smallest improvement that counts.
        threshold_mode: "rel": `threshold` is relative to the best value; "abs": absolute.
        cooldown: number of evaluations to ignore after a reduction.
        min_lr: lower bound of the rate.
        epsilon: a reduction that changes the rate by no more than this is not made.
    """

    needs_evaluation = True
    increasing_metric_if = ("mode", "max")

    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    epsilon: float = 1e-8

    def prepare(self) -> None:
        require(self.mode in ("min", "max"), "mode", "'min' or 'max'", self.mode)
        require(self.threshold_mode in ("rel", "abs"), "threshold_mode", "'rel' or 'abs'", self.threshold_mode)
        require(0 < self.factor < 1, "factor", "a number above 0 and below 1", self.factor)
        for name in ("patience", "threshold", "cooldown", "min_lr", "epsilon"):
            require(getattr(self, name) >= 0, name, "a number of at least 0", getattr(self, name))
        self.reductions = 0
        self.share = 1.0  # factor on the learning rate, for a checkpoint that contains only its last rate
        self.best: float | None = None
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def state_keys(self) -> None:
        self.keys = ["last_epoch", "last_lr", "mode", "reductions", "share", *OBSERVED]

    def decayed(self, unit: int) -> float:
        return self._rates(self.reductions)[-1]

    def _rates(self, reductions: int) -> list[float]:
        """Return the rates after 0 to `reductions` reductions; stops at one that changes the rate by too little."""
        rates = [self.learning_rate * self.share]
        for _ in range(reductions):
            reduced = max(rates[-1] * self.factor, self.min_lr)
            if rates[-1] - reduced <= self.epsilon:
                break
            rates.append(reduced)
        return rates

    def set_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue with the state of this or another schedule; that of another schedule contains no observations."""
        if "reductions" in state_dict:
            self.reductions = min(state_dict["reductions"], MAX_REDUCTIONS)
            self.share = state_dict["share"]
        elif "rate" in state_dict:  # written by a version of ppzoo that did not count reductions
            self._start_at(state_dict["rate"])
        if state_dict.get("mode", self.mode) == self.mode:
            self._restore_observations(state_dict)
        super().set_state_dict(state_dict)

    def _start_at(self, rate: float) -> None:
        """Continue with a rate for which the number of reductions is unknown."""
        rates = self._rates(MAX_REDUCTIONS)
        if rate in rates:
            self.reductions = rates.index(rate)
        else:
            self.share = rate / self.learning_rate

    def _restore_observations(self, saved: Mapping[str, Any]) -> None:
        for name in OBSERVED:
            setattr(self, name, saved.get(name, getattr(self, name)))

    def record_evaluation(self, loss: float, main: float) -> None:
        """Observe the loss, or with mode "max" the main metric."""
        self.observe(loss if self.mode == "min" else main)

    def discard_main_metric(self) -> None:
        """Discard the best value, except with mode "min", which observes the loss."""
        if self.mode == "max":
            self.best, self.num_bad_epochs = None, 0

    def resume_from_paddleclas(self, epoch: int, saved: Mapping[str, Any]) -> None:
        """Continue from PaddleClas's state; its best value is that of the main metric, so only "max" uses it."""
        plateau = saved.get("LinearWarmup_LR", saved)
        if "best" in plateau:
            self._start_at(float(plateau["last_lr"]))
            if self.mode == "max":
                self._restore_observations({**plateau, "best": float(plateau["best"])})
        super().resume_from_paddleclas(epoch, saved)

    def observe(self, value: float) -> None:
        """Observe the value of an evaluation; a new rate applies from the next training step on."""
        if self.unit < self.warmup:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            return
        if self._is_better(value):
            self.best = value
            self.num_bad_epochs = 0
            return
        self.num_bad_epochs += 1
        if self.num_bad_epochs > self.patience:
            self.num_bad_epochs = 0
            self.cooldown_counter = self.cooldown
            self.reductions = len(self._rates(self.reductions + 1)) - 1
            self.last_lr = self.get_lr()

    def _is_better(self, value: float) -> bool:
        if self.best is None or math.isnan(value):
            return not math.isnan(value)
        margin = self.threshold * self.best if self.threshold_mode == "rel" else self.threshold
        return value < self.best - margin if self.mode == "min" else value > self.best + margin
