"""Decide whether two computations of a network differ only by rounding, by comparing both with float64.

After a short training the batch statistics can be so badly conditioned that float32 itself is far from float64, by a
different amount for each implementation. A correct export then differs from its network by more than any fixed
tolerance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import paddle

ERROR_FACTOR = 10.0  # a program's error can be at most this many times the network's own float32 error
QUANTILE = 0.75  # of the per-image errors; the largest error of a badly conditioned network has no bound

OutputFunction = Callable[[np.ndarray], Sequence[np.ndarray]]


def output_function(layer: paddle.nn.Layer) -> OutputFunction:
    """Return a function from an array to the arrays of all outputs of a layer, which must be in evaluation mode."""

    def compute(images: np.ndarray) -> list[np.ndarray]:
        with paddle.no_grad():
            outputs = layer(paddle.to_tensor(images))
        return [output.numpy() for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]

    return compute


def float64_function(layer: paddle.nn.Layer) -> OutputFunction:
    """Return `output_function` of a copy of `layer` in float64, which uses PaddlePaddle's own operators."""
    exact = copy.deepcopy(layer)
    exact.to(dtype="float64")
    exact.eval()
    compute = output_function(exact)
    return lambda images: compute(images.astype(np.float64))


def is_rounding(
    layer: paddle.nn.Layer,
    program: OutputFunction,
    images: np.ndarray,
    tolerance: float,
    *,
    relative: bool = False,
    inputs: np.ndarray | None = None,
) -> bool:
    """Return whether the outputs of `program`, an export of `layer`, differ from the layer's only by rounding.

    That is the case if the 75th percentile of the program's per-image errors against float64 is at most the layer's
    own percentile times `ERROR_FACTOR`, plus `tolerance`.

    Args:
        images: N x C x H x W; use at least eight.
        relative: as for `max_errors`.
        inputs: what the program gets for these images if it normalizes them; by default the images.
    """
    network, reference = output_function(layer), float64_function(layer)
    network_errors, program_errors = [], []
    starts = [start for start in range(len(images)) if start % 3 != 2]  # batches of 1, 2, 1, 2, ...: float64 is large
    given = images if inputs is None else inputs
    for batch, program_input in zip(np.split(images, starts[1:]), np.split(given, starts[1:]), strict=True):
        exact = reference(batch)
        network_errors.append(max_errors(network(batch), exact, relative))
        program_errors.append(max_errors(program(program_input), exact, relative))
    typical, received = (
        np.quantile(np.concatenate(errors), QUANTILE, method="higher") for errors in (network_errors, program_errors)
    )
    return bool(received <= tolerance + ERROR_FACTOR * typical)


def max_errors(outputs: Sequence[np.ndarray], exact: Sequence[np.ndarray], relative: bool) -> np.ndarray:
    """Return the largest absolute error of each image over all outputs, shape N.

    Args:
        relative: divide the errors of an output by its largest exact value.
    """
    errors = []
    for output, expected in zip(outputs, exact, strict=True):
        scale = max(float(np.abs(expected).max()), 1e-30) if relative else 1.0
        errors.append(np.abs(output - expected).reshape(len(output), -1).max(axis=1) / scale)
    return np.max(errors, axis=0)
