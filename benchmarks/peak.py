"""What the machine can do at most, and what share of it each network's training step reaches.

    python benchmarks/peak.py                                     # the networks of benchmarks/train.py
    python benchmarks/peak.py --case MobileNetV2_x0_5:64:64 --pairs 7

The peaks are the best of several float32 matrix products (ppzoo's, PaddlePaddle's and NumPy's) and of several streams
through arrays that no cache holds (a copy, a sum of two; bytes read and bytes written), on all cores. Each round
measures both and the training step of every case, each in a process of its own; shares are formed within the round.

A step is taken to do this, over its convolutions, linear layers and batch norms; all else counts as nothing:

- Multiply-adds, of two operations each, by the definition of the layer: as many for the gradient of the input and for
  that of the weights as forward. Nobody asks for the gradient of the images.
- A convolution or linear layer reads its input and writes its output, then reads the output's gradient and the input
  again and writes the input's gradient. A batch norm does the same; its sums cost nothing. Numbers have four bytes.
- A parameter is read forward and backward, its gradient written and read; the optimizer reads and writes the parameter
  and its momentum.

"matrix" and "memory" are the shares of either peak that the step reaches on average. "limit" is the time that the step
would take if each layer ran at the peak that holds it up, as a share of the time that it takes. All of them may exceed
1: 3x3 convolutions are computed with fewer multiply-adds than their definition has, and what stays in a cache between
two layers is counted as memory all the same.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import comparison
import numpy as np
import train

from ppzoo.host import usable_cores
from ppzoo.native.env_settings import find_missing_settings

SIDES = (2048, 3072, 4096)
STREAM = 1 << 26  # numbers of each array: 256 MB
REPEATS = 5
NUMBER = 4  # bytes
PEAKS = ("matrix product", "memory")


class Work(NamedTuple):
    """What a layer does at least in a training step: floating-point operations, and bytes moved."""

    operations: float
    bytes: float


# --- peaks -----------------------------------------------------------------------------------------------------------


def best(work: float, run: Callable[[], object]) -> float:
    """The most work a second of a few runs."""
    run()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return work / min(times)


def matrix_peak() -> float:
    """Floating-point operations a second of the best matrix product."""
    import paddle

    from ppzoo import native
    from ppzoo.native import operators

    paddle.set_device("cpu")
    native.set_mode("on")
    rates = []
    for side in SIDES:
        left, right = np.random.default_rng(0).standard_normal((2, side, side), dtype=np.float32)
        tensors = paddle.to_tensor(left), paddle.to_tensor(right)
        ours = partial(operators.linear, *tensors, paddle.zeros([side]))
        for product in (ours, partial(paddle.matmul, *tensors), partial(np.matmul, left, right)):
            rates.append(best(2 * side**3, product))
    return max(rates)


def memory_peak() -> float:
    """Bytes a second that all cores together read and write."""
    cores = usable_cores()
    parts = [np.array_split(np.full(STREAM, value, np.float32), cores) for value in (0, 1, 2)]
    with ThreadPoolExecutor(cores) as pool:
        copy = partial(_all, pool, np.copyto, parts[0], parts[1])
        add = partial(_all, pool, np.add, parts[1], parts[2], parts[0])
        return max(best(2 * NUMBER * STREAM, copy), best(3 * NUMBER * STREAM, add))


def _all(pool: ThreadPoolExecutor, function: Callable[..., object], *arrays: list[np.ndarray]) -> None:
    for _ in pool.map(function, *arrays):
        pass


def run(peak: str) -> float:
    command = [sys.executable, __file__, "--measure", peak]
    return float(comparison.last_line(command, peak, find_missing_settings(os.environ)))


# --- work ------------------------------------------------------------------------------------------------------------


def work_of(name: str, size: int, batch: int) -> list[Work]:
    """The work of each layer, and last that of the optimizer."""
    import paddle
    from paddle import nn

    import ppzoo

    network = ppzoo.create_model(name, class_num=1000)
    network.eval()  # one image has no statistics
    layers = []

    def note(layer: nn.Layer, inputs: tuple[paddle.Tensor, ...], output: paddle.Tensor) -> None:
        wants_gradient = not inputs[0].stop_gradient
        numbers = (2 + wants_gradient) * inputs[0].size + 2 * output.size
        operations = 0
        if not isinstance(layer, nn.BatchNorm):
            # A weight is out x in x height x width for convolutions, in x out for linear layers.
            shape = layer.weight.shape
            terms = math.prod(shape[1:]) if isinstance(layer, nn.Conv2D) else shape[0]
            operations = 2 * (2 + wants_gradient) * output.size * terms
        layers.append(Work(batch * operations, batch * numbers * NUMBER))

    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D | nn.Linear | nn.BatchNorm):
            layer.register_forward_post_hook(note)
    network(paddle.zeros([1, 3, size, size]))
    parameters = sum(parameter.size for parameter in network.parameters() if not parameter.stop_gradient)
    return [*layers, Work(0, 8 * int(parameters) * NUMBER)]


def shares(work: list[Work], seconds: float, matrix: float, memory: float) -> dict[str, float]:
    operations, moved = (sum(column) for column in zip(*work, strict=True))
    limit = sum(max(layer.operations / matrix, layer.bytes / memory) for layer in work)
    return {
        "matrix": operations / seconds / matrix,
        "memory": moved / seconds / memory,
        "limit": limit / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="NETWORK:PIXELS:BATCH, several times; train.py's by default")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a process; 5 by default")
    parser.add_argument("--measure", choices=PEAKS, help=argparse.SUPPRESS)
    comparison.add_outputs(parser)
    options = parser.parse_args()
    if options.measure:
        print(matrix_peak() if options.measure == "matrix product" else memory_peak())
        return
    cases = options.case or train.CASES
    contestants = {peak: partial(run, peak) for peak in PEAKS}
    contestants |= {case: partial(train.run, "ppzoo", case, options.steps, sys.executable) for case in cases}
    figures = comparison.rounds(contestants, options.pairs)
    matrix, memory = (figures.pop(peak) for peak in PEAKS)
    print(f"matrix product {comparison.spread([rate / 1e9 for rate in matrix], '.0f')} GFLOP/s")
    print(f"memory {comparison.spread([rate / 1e9 for rate in memory], '.1f')} GB/s")
    results = {}
    for case, seconds in figures.items():
        name, size, batch = case.split(":")
        work = work_of(name, int(size), int(batch))
        of_rounds = [shares(work, *round_) for round_ in zip(seconds, matrix, memory, strict=True)]
        results[case] = {kind: [share[kind] for share in of_rounds] for kind in of_rounds[0]}
        operations, moved = (sum(column) for column in zip(*work, strict=True))
        reached = "; ".join(f"{kind} {comparison.spread(values)}" for kind, values in results[case].items())
        print(
            f"{case:32} {1e3 * statistics.median(seconds):.0f} ms, {operations / 1e9:.1f} GFLOP,"
            f" {moved / 1e9:.2f} GB: {reached}"
        )
    peaks = {"matrix product, FLOP/s": matrix, "memory, bytes/s": memory}
    comparison.write(options, "Training step against the machine", "share", results, peaks=peaks, seconds=figures)


if __name__ == "__main__":
    main()
