"""Convert the training progress in PaddleClas's checkpoints to ppzoo's format.

PaddleClas's `.pdstates` has no entry "identity", unlike ppzoo's. It holds the finished epochs and the metric of the
last evaluation, which need not be the best; the best one is in `best_model.pdstates`. The schedules count steps, or
epochs with `by_epoch`. With averaged weights, `.pdparams` holds the averages and `.pdema` the trained weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppzoo.weights import read_state

NO_METRIC = -1  # what PaddleClas saves without a metric


def is_paddleclas_state(saved: Mapping[str, Any]) -> bool:
    """Return whether the content of a `.pdstates` was written by PaddleClas."""
    return "identity" not in saved


def convert_progress(saved: Mapping[str, Any], prefix: Path) -> dict[str, Any]:
    """Convert PaddleClas's `.pdstates` to ppzoo's entries: finished epochs, the best metric and its epoch (from 0)."""
    best = prefix.with_name("best_model.pdstates")
    candidates = [saved, read_state(best)] if best.is_file() else [saved]
    metrics = [
        (float(one["metric"]), int(one["epoch"]))
        for one in candidates
        if one.get("metric", NO_METRIC) > NO_METRIC and one["epoch"] <= saved["epoch"]
    ]
    progress: dict[str, Any] = {"epoch": int(saved["epoch"])}
    if metrics:
        metric, epoch = max(metrics)
        progress |= {"best": metric, "best_epoch": epoch - 1}
    return progress
