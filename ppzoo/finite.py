"""Checks that outputs and metrics are finite, since comparing, sorting and clipping hide NaN and infinity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ppzoo.errors import TrainingError

MIN_PROBABILITY = 1e-30  # lower ones are raised to it before their logarithm, because that of 0 is not finite


def in_batch(index: int) -> str:
    """Return the name of an image of which only the position is known, for errors."""
    return f"image {index + 1} of the batch"


def require_finite(output: Any, describe: Callable[[int], str] = in_batch) -> None:
    """Require that the output of a network is finite.

    Args:
        output: an array or a tensor, N x ..., or several of them in a list or a mapping.
        describe: returns the name of image number i of N, for the error.

    Raises:
        TrainingError: a value is NaN or infinite; names the first such image.
    """
    for part in _parts(output):
        array = part.astype("float32").numpy() if hasattr(part, "numpy") else np.asarray(part)
        finite = np.isfinite(array)
        if not finite.all():
            position = int(np.argmin(finite))
            image = position // (array.size // len(array)) if array.ndim else 0
            raise TrainingError(
                f"the network's output for {describe(image)} is {array.flat[position]}, expected finite numbers: use"
                " other weights, or train them again with a lower Optimizer.lr.learning_rate"
            )


def require_finite_metrics(values: Mapping[str, float], what: str = "evaluation") -> None:
    """Require that losses and metrics are finite.

    Args:
        what: where they are from, for the error.

    Raises:
        TrainingError: a loss or metric is not finite; names it.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(f"the {what}'s {name} is {value}, expected a finite number")


def _parts(output: Any) -> Iterator[Any]:
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        for part in output:
            yield from _parts(part)
    else:
        yield output
