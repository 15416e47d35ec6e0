"""Validate the content of checkpoints, which is untrusted, before it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo.errors import CheckpointError, with_article

MAX_COUNT = 1 << 31  # the numbers of epochs, steps, ... in a checkpoint must be below this
# The entries of a `.pdstates` that are dictionaries.
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
        raise CheckpointError(f"{prefix} is damaged or not a checkpoint of a training run: {reason:.200}") from error


def require_progress(saved: Mapping[str, Any]) -> None:
    """Validate the types and ranges of the entries of a `.pdstates`.

    Raises:
        CheckpointError: a number is out of range, or an entry has the wrong type.
    """
    counts = {"epoch": saved.get("epoch"), "step": saved.get("step", 0), "rollbacks": saved.get("rollbacks", 0)}
    counts["average_updates"] = saved.get("average_updates") or 0  # None without EMA
    for name, value in counts.items():
        if type(value) is not int or not 0 <= value < MAX_COUNT:
            raise CheckpointError(f"expected {name} to be an integer of at least 0, got {value!r:.60}")
    for name in ("best", "metric", "best_epoch"):
        value = saved.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise CheckpointError(f"expected {name} to be a number, got {value!r:.60}")
        if name == "best" and value is not None and math.isnan(value):  # no value would be better
            raise CheckpointError("expected best to be a number, got nan")
    metric = saved.get("best_metric")
    if metric is not None and not isinstance(metric, str):
        raise CheckpointError(f"expected best_metric to be the name of a metric, got {metric!r:.60}")
    for name in TABLES:
        if not isinstance(saved.get(name) or {}, dict):
            raise CheckpointError(f"expected {name} to be a dictionary, got {with_article(type(saved[name]).__name__)}")


def require_identity(saved: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Require that a `.pdstates` was saved by a run with this identity.

    Raises:
        CheckpointError: it was saved by another run, or its step is beyond the length of an epoch of this run.
    """
    for name, found in saved.get("identity", {}).items():
        expected = identity.get(name, found)
        if found is not None and expected != found:  # None: version 0.1.0 saved no class names for renumbered labels
            label = name.replace("data set", "dataset")  # checkpoints have the key "data set"
            raise CheckpointError(f"expected {label} {expected!r} as in the configuration, got {found!r}")
    step, steps = saved.get("step", 0), identity.get("steps per epoch", math.inf)
    if step > steps:
        raise CheckpointError(f"expected at most {steps} steps, the length of an epoch, got step {step}")


def require_accumulators(saved: Mapping[str, Any], model: paddle.nn.Layer) -> None:
    """Require that the optimizer state of a `.pdopt`, whose keys begin with parameter names, fits the model.

    A state without accumulators fits every model.

    Raises:
        CheckpointError: a trainable parameter has no entry, an entry belongs to no parameter or is not a floating-point
            array with the parameter's shape (or with one element), or the schedule's state is not a dictionary.
    """
    if not isinstance(saved.get("LR_Scheduler") or {}, dict):
        raise CheckpointError("expected the learning-rate schedule to be a dictionary")
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
            raise CheckpointError(
                f"expected a floating-point array as {key!r} of the optimizer state, got"
                f" {with_article(type(value).__name__)}"
            )
        if value.shape != tuple(owner.shape) and value.size != 1:
            raise CheckpointError(
                f"expected {key!r} to have the shape {tuple(owner.shape)} of its parameter, got {value.shape}"
            )
    for parameter in parameters:
        if parameter.name not in covered and not parameter.stop_gradient:
            raise CheckpointError(f"the optimizer state has no entry for the parameter {parameter.name!r}")
    if unknown:
        raise CheckpointError(f"the network has no parameter for {min(unknown)!r} of the optimizer state")
