"""Early stopping: a run whose main metric stops improving ends before its last epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class EarlyStopping:
    """Counts the consecutive evaluations without an improvement of the main metric.

    Args:
        patience: the run ends after this many such evaluations.
        min_gain: a value counts as an improvement if it is better than `best` by more than this.
        higher_is_better: whether a higher value of the metric is better.

    Attributes:
        best: value of the last improvement, at first that of the first evaluation; `waited` counts the evaluations
            since then.
    """

    def __init__(self, patience: int, min_gain: float = 0.0, higher_is_better: bool = True) -> None:
        self.patience, self.min_gain, self.higher_is_better = patience, min_gain, higher_is_better
        self.best: float | None = None
        self.waited = 0

    def update(self, value: float) -> None:
        """Record the value of an evaluation; NaN is no improvement."""
        if math.isnan(value):
            self.waited += 1
            return
        gain = None if self.best is None else value - self.best if self.higher_is_better else self.best - value
        if gain is None or gain > self.min_gain:
            self.best, self.waited = value, 0
        else:
            self.waited += 1

    @property
    def should_stop(self) -> bool:
        """Whether to stop the run."""
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best = None if state["best"] is None else float(state["best"])
        self.waited = int(state["waited"])
