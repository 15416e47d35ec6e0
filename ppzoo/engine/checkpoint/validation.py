"""Validate the content of checkpoints, which is untrusted, before it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo.errors import CheckpointError

MAX_COUNT = 1 << 31
TABLES = ("identity", "tally", "versions", "configuration", "loss_scaler", "early_stopping", "reading")
MALFORMED_ERRORS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, AssertionError)
NO_ACCUMULATORS = {"LR_Scheduler", "master_weights"}  # other entries of an optimizer's state


@contextmanager
def wrap_malformed(prefix: Path) -> Iterator[None]:
    """Turn errors while a checkpoint is restored into a `CheckpointError` of one line."""
    try:
        yield
    except MALFORMED_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{prefix} is damaged, or no checkpoint of a training run: {reason:.200}") from error


def require_progress(saved: Mapping[str, Any]) -> None:
    """Validate the types and ranges of a `.pdstates`.

    Raises:
        CheckpointError: a number is out of range, or an entry has the wrong type.
    """
    for name in ("epoch", "step"):
        value = saved.get(name, 0 if name == "step" else None)
        if type(value) is not int or not 0 <= value < MAX_COUNT:
            raise CheckpointError(f"its {name} is {value!r:.60}, expected a number of {name}s")
    for name in ("best", "metric", "best_epoch"):
        value = saved.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise CheckpointError(f"its {name} is {value!r:.60}, expected a number")
        if name == "best" and value is not None and math.isnan(value):  # no value would be better
            raise CheckpointError("its best is nan, expected a number")
    for name in TABLES:
        if not isinstance(saved.get(name) or {}, dict):
            raise CheckpointError(f"its {name} is a {type(saved[name]).__name__}, expected a table")


def require_identity(saved: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Require that a `.pdstates` was saved by a run with this identity.

    Raises:
        CheckpointError: it was saved by another run, or at a step that this one does not have.
    """
    for name, found in saved.get("identity", {}).items():
        expected = identity.get(name, found)
        if found is not None and expected != found:  # None: version 0.1.0 saved no class names for renumbered labels
            raise CheckpointError(f"the checkpoint's {name} is {found!r}, this configuration's is {expected!r}")
    step, steps = saved.get("step", 0), identity.get("steps per epoch", math.inf)
    if step > steps:
        raise CheckpointError(f"the checkpoint's step is {step}, but an epoch has {steps} steps")


def require_accumulators(saved: Mapping[str, Any], model: paddle.nn.Layer) -> None:
    """Require that the optimizer state of a `.pdopt`, whose keys begin with parameter names, fits the model.

    Raises:
        CheckpointError: a trainable parameter has no entry, an entry belongs to no parameter, or it is not an array of
            numbers with the parameter's shape (or with one element).
    """
    if not isinstance(saved.get("LR_Scheduler") or {}, dict):
        raise CheckpointError("its schedule is not a table")
    accumulators = {key: value for key, value in saved.items() if key not in NO_ACCUMULATORS}
    if not accumulators:
        return  # the optimizer has none, or has made no step
    # Longest names first: `fc_1` is also a prefix of the accumulators of `fc_1_offset`.
    parameters = sorted(model.parameters(), key=lambda parameter: -len(parameter.name))
    covered: set[str] = set()
    unknown: list[str] = []
    for key, value in accumulators.items():
        owner = next((one for one in parameters if key.startswith(f"{one.name}_")), None)
        if owner is None:
            unknown.append(key)
            continue
        covered.add(owner.name)
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise CheckpointError(f"its optimizer state has {type(value).__name__} as {key!r}, expected numbers")
        if value.shape != tuple(owner.shape) and value.size != 1:
            raise CheckpointError(f"its {key!r} has the shape {value.shape}, its parameter {tuple(owner.shape)}")
    for parameter in parameters:
        if parameter.name not in covered and not parameter.stop_gradient:
            raise CheckpointError(f"its optimizer state has no entry for the parameter {parameter.name!r}")
    if unknown:
        raise CheckpointError(f"{min(unknown)!r} of its optimizer state belongs to no parameter of the network")
