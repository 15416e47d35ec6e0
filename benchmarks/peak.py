"""Peak matrix and memory throughput of the machine, and the shares of these peaks that training steps reach (roofline).

    python benchmarks/peak.py                                     # the networks of benchmarks/train.py
    python benchmarks/peak.py --case MobileNetV2_x0_5:64:64 --pairs 7

The peaks are the best of several float32 matrix products (ppzoo's, PaddlePaddle's and NumPy's) and the best of a copy
and an addition of arrays that are larger than all caches (bytes read plus bytes written), on all cores. Each round
measures both peaks and the training step of each case, each in a separate process; shares are computed within a round.

The work of a training step is estimated from its convolutions, linear layers and batch norms:

- Multiply-adds (two operations each) by the definition of the layer: the forward pass, the gradient of the weights and
  the gradient of the input each need the same number. The gradient of the images is not computed.
- A convolution or linear layer reads its input and writes its output; then it reads the output's gradient and the input
  again and writes the input's gradient. A batch norm is counted in the same way. All numbers are float32.
- A parameter is read in the forward and the backward pass, and its gradient is written and read; the optimizer reads
  and writes the parameter and its momentum.

"matrix" and "memory" are the average shares of the two peaks that a step reaches. "roofline" is the time that the step
would take if each layer ran at its limiting peak, divided by the measured time. All three can exceed 1: 3x3
convolutions are computed with fewer multiply-adds than their definition needs (Winograd), and data that stays in a
cache between two layers is counted as memory traffic.
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
STREAM_SIZE = 1 << 26  # elements of each array: 256 MB
REPEATS = 5
ITEM_SIZE = 4  # bytes of a float32
PEAKS = ("matrix product", "memory")


class Work(NamedTuple):
    """The least work of a layer in a training step: floating-point operations, and bytes read and written."""

    operations: float
    bytes: float


# --- peaks -----------------------------------------------------------------------------------------------------------


def best(work: float, run: Callable[[], object]) -> float:
    """Return the highest work per second of several runs."""
    run()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return work / min(times)


def matrix_peak() -> float:
    """Return the floating-point operations per second of the fastest matrix product."""
    import paddle

    from ppzoo import native
    from ppzoo.native import operators

    paddle.set_device("cpu")
    native.set_mode("on")
    rates = []
    for side in SIDES:
        left, right = np.random.default_rng(0).standard_normal((2, side, side), dtype=np.float32)
        tensors = paddle.to_tensor(left), paddle.to_tensor(right)
        native_linear = partial(operators.linear, *tensors, paddle.zeros([side]))
        for product in (native_linear, partial(paddle.matmul, *tensors), partial(np.matmul, left, right)):
            rates.append(best(2 * side**3, product))
    return max(rates)


def memory_peak() -> float:
    """Return the bytes per second that all cores together read and write."""
    cores = usable_cores()
    parts = [np.array_split(np.full(STREAM_SIZE, value, np.float32), cores) for value in (0, 1, 2)]
    with ThreadPoolExecutor(cores) as pool:
        copy = partial(_all, pool, np.copyto, parts[0], parts[1])
        add = partial(_all, pool, np.add, parts[1], parts[2], parts[0])
        return max(best(2 * ITEM_SIZE * STREAM_SIZE, copy), best(3 * ITEM_SIZE * STREAM_SIZE, add))


def _all(pool: ThreadPoolExecutor, function: Callable[..., object], *arrays: list[np.ndarray]) -> None:
    for _ in pool.map(function, *arrays):
        pass


def run(peak: str) -> float:
    """Measure a peak in a separate process."""
    command = [sys.executable, __file__, "--measure", peak]
    return float(comparison.run_subprocess(command, peak, find_missing_settings(os.environ)))


# --- work ------------------------------------------------------------------------------------------------------------


def work_of(name: str, size: int, batch: int) -> list[Work]:
    """Return the work of each layer, followed by that of the optimizer."""
    import paddle
    from paddle import nn

    import ppzoo

    network = ppzoo.create_model(name, class_num=1000)
    network.eval()  # batch statistics of a single image are not defined
    layers = []

    def record_work(layer: nn.Layer, inputs: tuple[paddle.Tensor, ...], output: paddle.Tensor) -> None:
        needs_input_gradient = not inputs[0].stop_gradient
        elements = (2 + needs_input_gradient) * inputs[0].size + 2 * output.size
        operations = 0
        if not isinstance(layer, nn.BatchNorm):
            # Convolution weights are [out, in, height, width], linear ones [in, out].
            shape = layer.weight.shape
            terms = math.prod(shape[1:]) if isinstance(layer, nn.Conv2D) else shape[0]
            operations = 2 * (2 + needs_input_gradient) * output.size * terms
        layers.append(Work(batch * operations, batch * elements * ITEM_SIZE))

    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D | nn.Linear | nn.BatchNorm):
            layer.register_forward_post_hook(record_work)
    network(paddle.zeros([1, 3, size, size]))
    parameters = sum(parameter.size for parameter in network.parameters() if not parameter.stop_gradient)
    return [*layers, Work(0, 8 * int(parameters) * ITEM_SIZE)]


def shares(work: list[Work], seconds: float, matrix: float, memory: float) -> dict[str, float]:
    """Return the shares of the peaks that a step of `seconds` reaches."""
    operations, moved = (sum(column) for column in zip(*work, strict=True))
    shortest = sum(max(layer.operations / matrix, layer.bytes / memory) for layer in work)
    return {
        "matrix": operations / seconds / matrix,
        "memory": moved / seconds / memory,
        "roofline": shortest / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--case", action="append", help="NETWORK:PIXELS:BATCH, can be repeated (default: those of train.py)"
    )
    parser.add_argument("--steps", type=int, default=5, help="timed steps per process (default: 5)")
    parser.add_argument("--measure", choices=PEAKS, help=argparse.SUPPRESS)
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    if options.measure:
        print(matrix_peak() if options.measure == "matrix product" else memory_peak())
        return
    cases = options.case or train.CASES
    measurements = {peak: partial(run, peak) for peak in PEAKS}
    measurements |= {case: partial(train.run, "ppzoo", case, steps=options.steps) for case in cases}
    times = comparison.run_rounds(measurements, options.pairs)
    matrix, memory = (times.pop(peak) for peak in PEAKS)
    print(f"peak matrix product: {comparison.summarize([rate / 1e9 for rate in matrix], '.0f')} GFLOP/s")
    print(f"peak memory throughput: {comparison.summarize([rate / 1e9 for rate in memory], '.1f')} GB/s\n")
    columns = {"network:pixels:batch": 32, "time": 8, "operations": 12, "memory traffic": 8}
    table = comparison.Table(columns | dict.fromkeys(("matrix", "memory", "roofline"), comparison.RATIO_WIDTH))
    results = {}
    for case, seconds in times.items():
        name, size, batch = case.split(":")
        work = work_of(name, int(size), int(batch))
        shares_by_round = [shares(work, *values) for values in zip(seconds, matrix, memory, strict=True)]
        results[case] = {name: [values[name] for values in shares_by_round] for name in shares_by_round[0]}
        operations, moved = (sum(column) for column in zip(*work, strict=True))
        cells = [f"{1e3 * statistics.median(seconds):.0f} ms", f"{operations / 1e9:.1f} GFLOP", f"{moved / 1e9:.2f} GB"]
        table.print_row(case, *cells, *map(comparison.summarize, results[case].values()))
    peaks = {"matrix product, FLOP/s": matrix, "memory, bytes/s": memory}
    comparison.write_results(options, "Training step and peak throughput", "share", results, peaks=peaks, seconds=times)


if __name__ == "__main__":
    main()
