"""The sections of a report that do not depend on the predictions: curves, model, speed, environment."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle

import ppzoo
from ppzoo import report
from ppzoo.builders.report_sources import EvaluatedNetwork
from ppzoo.config import Config
from ppzoo.files import RUN_HISTORY, WEIGHTS
from ppzoo.host import processor_name, usable_cores
from ppzoo.models.flops import count_network
from ppzoo.report import Note, make_note

BEST, LATEST = "best_model", "latest"
SPEED_BATCH = 16
SPEED_SECONDS = 1.0  # of each of the two measurements
STATISTICS = ("._mean", "._variance")  # running statistics, which are no parameters


def read_curves(folder: Path, notes: list[Note]) -> list[dict[str, Any]] | None:
    """Return the entries of `history.jsonl`; None if there are none; add a note if it is missing or damaged."""
    path = folder / RUN_HISTORY
    try:
        entries = report.read_history(path)
    except OSError as error:
        notes.append(make_note("curves_unreadable", file=RUN_HISTORY, reason=error.strerror))
        return None
    except ValueError:
        notes.append(make_note("curves_damaged", file=RUN_HISTORY))
        return None
    return entries or None


def find_interruption(config: Config, folder: Path, curves: list[dict[str, Any]] | None) -> dict[str, int] | None:
    """Return the last epoch and the planned epochs of a run that has not finished; None for a finished run.

    A run with early stopping is finished if its curves were plotted after its last epoch, since training plots them
    when it ends. A run that has the latest weights, but neither best weights nor a history, has not finished its first
    epoch.
    """
    epochs = config.Global.epochs
    if epochs is None:
        return None
    if curves is None:
        has_results = is_filled(folder / RUN_HISTORY) or os.path.isfile(folder / f"{BEST}{WEIGHTS}")
        has_begun = os.path.isfile(folder / f"{LATEST}{WEIGHTS}")
        return {"epoch": 0, "epochs": epochs} if has_begun and not has_results else None
    if curves[-1]["epoch"] >= epochs:
        return None
    picture = folder / report.Curves.PICTURE
    is_plotted = os.path.isfile(picture) and picture.stat().st_mtime >= (folder / RUN_HISTORY).stat().st_mtime
    if config.Global.early_stopping and is_plotted:
        return None
    return {"epoch": curves[-1]["epoch"], "epochs": epochs}


def is_filled(path: Path) -> bool:
    return os.path.isfile(path) and path.stat().st_size > 0


def describe_model(evaluated: EvaluatedNetwork) -> dict[str, Any]:
    """Return the section `model`: parameters, multiply-adds for one image of the evaluation, size of the weights."""
    shape = list(evaluated.first_input.shape)
    parameters = flops = None
    if evaluated.network is not None:
        named = evaluated.network.named_parameters()
        parameters = sum(parameter.size for name, parameter in named if not name.endswith(STATISTICS))
        flops = count_network(evaluated.network, shape).flops
    files = evaluated.weight_files
    return {
        "name": evaluated.title,
        "parameters": parameters,
        "flops": flops,
        "flops_input": shape,
        "file_bytes": sum(file.stat().st_size for file in files) if files else None,
    }


def measure_speed(evaluated: EvaluatedNetwork) -> dict[str, Any]:
    """Return the section `speed`: images per second in batches, and milliseconds for one image."""
    batch = np.repeat(evaluated.first_input[None], SPEED_BATCH, axis=0)
    return {
        "images_per_second": SPEED_BATCH / _seconds_per_call(evaluated, batch),
        "batch_size": SPEED_BATCH,
        "milliseconds_single": 1000 * _seconds_per_call(evaluated, batch[:1]),
        "engine": evaluated.engine,
    }


def _seconds_per_call(evaluated: EvaluatedNetwork, images: np.ndarray) -> float:
    """Return the median time of a prediction in seconds; the first prediction is not measured."""
    evaluated.predict(images)
    times: list[float] = []
    while sum(times) < SPEED_SECONDS:
        start = time.perf_counter()
        evaluated.predict(images)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def describe_environment() -> dict[str, Any]:
    """Return the section `environment`."""
    return {
        "ppzoo": ppzoo.__version__,
        "paddle": paddle.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": processor_name().rpartition(":")[2].strip() or "unknown",
        "cores": usable_cores(),
        "device": paddle.get_device(),
    }
