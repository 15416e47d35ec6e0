"""What the files of a checkpoint claim, looked at before it is believed: they may come from anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo.errors import CheckpointError

LARGEST = 1 << 31
TABLES = ("identity", "tally", "versions", "configuration", "loss_scaler", "early_stopping", "reading")
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, AssertionError)


@contextmanager
def wrap_malformed(prefix: Path) -> Iterator[None]:
    """While a checkpoint is taken over: what goes wrong there is the checkpoint's fault, in one line."""
    try:
        yield
    except MALFORMED as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{prefix} is damaged, or no checkpoint of a training: {reason:.200}") from error


def require_progress(saved: Mapping[str, Any]) -> None:
    """Refuse the content of a `.pdstates` that cannot be.

    Raises:
        CheckpointError: a number is none or out of its range, or a table is none.
    """
    for name in ("epoch", "step"):
        value = saved.get(name, 0 if name == "step" else None)
        if type(value) is not int or not 0 <= value < LARGEST:
            raise CheckpointError(f"its {name} is {value!r:.60}, expected a number of {name}s")
    for name in ("best", "metric", "best_epoch"):
        value = saved.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise CheckpointError(f"its {name} is {value!r:.60}, expected a number")
        if name == "best" and value is not None and math.isnan(value):  # than which nothing would be better
            raise CheckpointError("its best is nan, expected a number")
    for name in TABLES:
        if not isinstance(saved.get(name) or {}, dict):
            raise CheckpointError(f"its {name} is a {type(saved[name]).__name__}, expected a table")


def require_accumulators(saved: Mapping[str, Any], model: paddle.nn.Layer) -> None:
    """Refuse the content of a `.pdopt` whose arrays are not those of the model's parameters.

    Raises:
        CheckpointError: an entry is no array, or has another shape than its parameter (one number may stand for it).
    """
    if not isinstance(saved.get("LR_Scheduler") or {}, dict):
        raise CheckpointError("its schedule is no table")
    shapes = sorted(((item.name, tuple(item.shape)) for item in model.parameters()), key=lambda item: -len(item[0]))
    for key, value in saved.items():
        owner = next((shape for name, shape in shapes if key.startswith(f"{name}_")), None)
        if owner is None:
            continue
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise CheckpointError(f"its optimizer state has {type(value).__name__} as {key!r}, expected numbers")
        if value.shape != owner and value.size != 1:
            raise CheckpointError(f"its {key!r} has the shape {value.shape}, its parameter {owner}")
