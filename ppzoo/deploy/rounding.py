"""Whether two computations of a network differ by rounding alone: measured against the same network in float64.

After a short training statistics may be so badly conditioned that float32 itself is far from float64, each time by
another amount: then a program that is right differs from its network by more than any fixed tolerance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import paddle

ERROR_FACTOR = 10.0  # how much further from float64 than the network a program may be
QUANTILE = 0.75  # of the images; the errors of a badly conditioned network have no largest value

OutputFunction = Callable[[np.ndarray], Sequence[np.ndarray]]


def output_function(layer: paddle.nn.Layer) -> OutputFunction:
    """A layer in evaluation mode as a function of an array: all of its outputs as arrays."""

    def compute(images: np.ndarray) -> list[np.ndarray]:
        with paddle.no_grad():
            outputs = layer(paddle.to_tensor(images))
        return [output.numpy() for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]

    return compute


def float64_function(layer: paddle.nn.Layer) -> OutputFunction:
    """`outputs_of` a copy of `layer` with its weights in float64, which takes PaddlePaddle's operators."""
    exact = copy.deepcopy(layer)
    exact.to(dtype="float64")
    exact.eval()
    compute = output_function(exact)
    return lambda images: compute(images.astype(np.float64))


def is_rounding(
    layer: paddle.nn.Layer, program: OutputFunction, images: np.ndarray, tolerance: float, *, relative: bool = False
) -> bool:
    """Whether a program's outputs are those of `layer`, which it is made of, but for rounding.

    They are if for three of four images they are as near to float64 as the layer's own, times `FACTOR`, plus
    `tolerance`.

    Args:
        images: N x C x H x W; eight or more make a fair comparison.
        relative: errors are taken relative to an output's largest value.
    """
    network, reference = output_function(layer), float64_function(layer)
    own, others = [], []
    starts = [start for start in range(len(images)) if start % 3 != 2]  # one, two, one, two, ...: float64 takes memory
    for few in np.split(images, starts[1:]):
        exact = reference(few)
        own.append(max_errors(network(few), exact, relative))
        others.append(max_errors(program(few), exact, relative))
    typical, received = (np.quantile(np.concatenate(each), QUANTILE, method="higher") for each in (own, others))
    return bool(received <= tolerance + ERROR_FACTOR * typical)


def max_errors(outputs: Sequence[np.ndarray], exact: Sequence[np.ndarray], relative: bool) -> np.ndarray:
    """The largest error of each image, of all its outputs."""
    found = []
    for output, expected in zip(outputs, exact, strict=True):
        scale = max(float(np.abs(expected).max()), 1e-30) if relative else 1.0
        found.append(np.abs(output - expected).reshape(len(output), -1).max(axis=1) / scale)
    return np.max(found, axis=0)
