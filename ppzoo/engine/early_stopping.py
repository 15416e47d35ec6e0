"""Early stopping: a run that gains nothing any more ends before its last epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class EarlyStopping:
    """Counts the evaluations in a row whose figure is no gain.

    Args:
        patience: so many of them end the run.
        min_gain: how much better than the best before it a figure must be to count as a gain.
        higher_is_better: of the figure.

    Attributes:
        best: the figure of the last gain; `waited` the evaluations since.
    """

    def __init__(self, patience: int, min_gain: float = 0.0, higher_is_better: bool = True) -> None:
        self.patience, self.min_gain, self.higher_is_better = patience, min_gain, higher_is_better
        self.best: float | None = None
        self.waited = 0

    def note(self, figure: float) -> None:
        """Take in an evaluation's figure; one that is not a number is no gain."""
        if math.isnan(figure):
            self.waited += 1
            return
        gain = None if self.best is None else figure - self.best if self.higher_is_better else self.best - figure
        if gain is None or gain > self.min_gain:
            self.best, self.waited = figure, 0
        else:
            self.waited += 1

    @property
    def is_over(self) -> bool:
        """Whether the run ends here."""
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited = state["best"], int(state["waited"])
