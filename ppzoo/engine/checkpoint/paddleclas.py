"""Checkpoints that PaddleClas wrote: what they say otherwise than ppzoo's, and how a run goes on from them.

Its files have no "identity". Its `.pdstates` holds the epochs done and the figure of that epoch's evaluation, which
need not be the best; the best stands in `best_model.pdstates`. Its schedules count steps, or epochs with `by_epoch`.
Where it averaged the weights, `.pdparams` has the averages, and `.pdema` the weights that are trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppzoo.weights import read_state

NO_FIGURE = -1  # its evaluation's answer where there is no metric


def is_paddleclas_state(saved: Mapping[str, Any]) -> bool:
    """Whether the content of a `.pdstates` is PaddleClas's."""
    return "identity" not in saved


def progress_of(saved: Mapping[str, Any], prefix: Path) -> dict[str, Any]:
    """The content of a `.pdstates` of PaddleClas in ppzoo's words: epochs done, best figure and its epoch (from 0)."""
    best = prefix.with_name("best_model.pdstates")
    candidates = [saved, read_state(best)] if best.is_file() else [saved]
    figures = [
        (float(one["metric"]), int(one["epoch"]))
        for one in candidates
        if one.get("metric", NO_FIGURE) > NO_FIGURE and one["epoch"] <= saved["epoch"]
    ]
    progress: dict[str, Any] = {"epoch": int(saved["epoch"])}
    if figures:
        figure, epoch = max(figures)
        progress |= {"best": figure, "best_epoch": epoch - 1}
    return progress
