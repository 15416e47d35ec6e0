"""Training on several processes: measured on this machine, and simulated for clusters of up to 1,024 processes.

    python benchmarks/scaling.py                      # MobileNetV2_x0_5 and ResNet18 at 64 pixels, 2 and 3 processes
    python benchmarks/scaling.py --case ResNet50:224:8 --processes 2    # another network

The first table compares N processes, each with an equal share of the cores, with one process that has all cores and
a batch N times as large. `waiting` is the part of a step in which a process waits for gradients of the others.
`overlap` is the speedup of averaging gradients during the backward pass instead of after it. To measure this, the N
processes run steps of three kinds in turn: with averaging during the backward pass, after it, and without averaging.

`measured / model` compares the steps with those of the model in cluster_model.py. Its inputs are the step without
averaging and the time of single all-reduces, measured with the same number of processes.

The second table is the model's efficiency for the clusters of --clusters (default: clusters.csv, whose values are
typical ones, not measured): the images per second of each process, divided by those of a single process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import comparison
from cluster_model import Cluster, StepProfile, efficiency, fit_network, read_clusters, step_seconds

from ppzoo.host import usable_cores
from ppzoo.native.env_settings import find_missing_settings

CASES = ["MobileNetV2_x0_5:64:32", "ResNet18:64:32"]
COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
TRANSFER_SIZES = [2**10, 2**14, 2**18, 2**20, 2**22]  # bytes
WARM_UP, TRANSFERS = 2, 20


class Training:
    """One process of data-parallel training on random images."""

    def __init__(self, name: str, size: int, batch: int) -> None:
        import paddle

        import ppzoo
        from ppzoo import engine, native
        from ppzoo.native.momentum import Momentum

        paddle.set_device("cpu")
        native.set_mode("on")
        self.processes = engine.init_process_group()
        paddle.seed(0)
        self.network = ppzoo.create_model(name, class_num=1000)
        self.network.train()
        self.optimizer = Momentum(0.01, parameters=self.network.parameters(), weight_decay=1e-4)
        self.images, self.labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, 1000, [batch])

    def step(self, averager: Any) -> tuple[float, float, float]:
        """Make a step; return the seconds from its start to the end of backward pass, averaging and update."""
        from paddle.nn.functional import cross_entropy

        times = [time.perf_counter()]
        output = self.network(self.images)
        loss = cross_entropy(output[0] if isinstance(output, (list, tuple)) else output, self.labels)
        averager.start()
        loss.backward()
        times.append(time.perf_counter())
        averager.finish()
        times.append(time.perf_counter())
        self.optimizer.step()
        self.optimizer.clear_grad(set_to_zero=False)
        float(loss)
        times.append(time.perf_counter())
        computed, averaged, end = (at - times[0] for at in times[1:])
        return computed, averaged, end


class Recorder:
    """Is called instead of an all-reduce, and records when the all-reduce would start, and its size in bytes."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.sizes: list[int] = []

    def __call__(self, tensor: Any) -> Callable[[], object]:
        self.times.append(time.perf_counter())
        self.sizes.append(tensor.size * tensor.element_size())
        return lambda: None


def measure(case: str, steps: int) -> dict[str, Any]:
    """Return the measurements of this process, which can be one of several that train together."""
    from ppzoo.engine.gradient_averaging import GradientAverager

    name, size, batch = case.split(":")
    training = Training(name, int(size), int(batch))
    processes, network = training.processes, training.network
    kinds = {"alone": GradientAverager()}
    if processes.size > 1:
        kinds["after"] = processes.gradient_averager(network, overlap=False)
        kinds["during"] = processes.gradient_averager(network)
    times: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in kinds}
    for number in range(WARM_UP + steps):
        for kind, averager in kinds.items():
            processes.barrier()
            measured = training.step(averager)
            if number >= WARM_UP:
                times[kind].append(measured)
    result = {
        kind: {
            part: statistics.median(values)
            for part, values in zip(("computed", "averaged", "end"), zip(*rows, strict=True), strict=True)
        }
        for kind, rows in times.items()
    }
    result["buckets"] = record_buckets(training, steps)
    if processes.size > 1:
        result["transfers"] = [transfer_seconds(processes, count) for count in TRANSFER_SIZES]
    return result


def record_buckets(training: Training, steps: int) -> dict[str, Any]:
    """Return the bytes of each bucket, and when its gradients are computed, as a share of forward and backward pass."""
    from ppzoo.engine.gradient_averaging import BucketAverager

    recorder = Recorder()
    averager = BucketAverager(training.network.parameters(), 1, recorder)
    rows = []
    for _ in range(steps):
        recorder.times, recorder.sizes = [], []
        training.processes.barrier()
        start = time.perf_counter()
        computed, _, _ = training.step(averager)
        rows.append([(at - start) / computed for at in recorder.times])
    return {"sizes": recorder.sizes, "ready": [statistics.median(column) for column in zip(*rows, strict=True)]}


def transfer_seconds(processes: Any, count: int) -> float:
    """Return the median time of an all-reduce of `count` bytes."""
    import paddle
    import paddle.distributed as dist

    tensor = paddle.zeros([count // 4], "float32")
    times = []
    for _ in range(WARM_UP + TRANSFERS):
        processes.barrier()
        started = time.perf_counter()
        dist.all_reduce(tensor)
        times.append(time.perf_counter() - started)
    return statistics.median(times[WARM_UP:])


def run(case: str, count: int, steps: int) -> dict[str, Any]:
    """Run `measure` in `count` processes, and return the measurements of the first one."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-W", "ignore"]
        if count > 1:
            command += ["-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--log_dir", folder]
        command += [__file__, "--measure", str(result), "--case", case, "--steps", str(steps)]
        threads = {"OMP_NUM_THREADS": str(max(usable_cores() // count, 1))}
        comparison.run_subprocess(command, f"{case}, {count} processes", find_missing_settings(os.environ) | threads)
        return dict(json.loads(result.read_text(encoding="utf-8")))


def larger_batch(case: str, factor: int) -> str:
    name, size, batch = case.split(":")
    return f"{name}:{size}:{int(batch) * factor}"


def measured_profile(result: dict[str, Any]) -> StepProfile:
    alone, buckets = result["alone"], result["buckets"]
    ready = [share * alone["computed"] for share in buckets["ready"]]
    return StepProfile(ready, buckets["sizes"], alone["computed"], alone["end"] - alone["averaged"])


class MeasuredRounds:
    """The rounds of each case and number of processes; `add` prints a row of the table."""

    def __init__(self) -> None:
        self.rounds: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.table = comparison.Table(
            {"network:pixels:batch": 28, "processes": 9, "step": 8, "waiting": 8}
            | dict.fromkeys(["N processes / one", "overlap", "measured / model"], comparison.RATIO_WIDTH)
        )

    def add(self, case: str, count: int, results: list[dict[str, Any]]) -> None:
        self.rounds[case, count] = results
        steps = [one["during"]["end"] for one in results]
        waits = [(one["during"]["averaged"] - one["during"]["computed"]) / one["during"]["end"] for one in results]
        ratios = (
            comparison.ratios([one["one process"] for one in results], steps),
            comparison.ratios([one["after"]["end"] for one in results], steps),
            comparison.ratios(steps, [modeled_step(one, count) for one in results]),
        )
        self.table.print_row(
            *(case, str(count), f"{1e3 * statistics.median(steps):.0f} ms", f"{100 * statistics.median(waits):.0f}%"),
            *map(comparison.summarize, ratios),
        )


def modeled_step(result: dict[str, Any], count: int) -> float:
    """Return the step of the model for the measured computation and all-reduces of a round."""
    network = fit_network(TRANSFER_SIZES, result["transfers"], count)
    return step_seconds(measured_profile(result), Cluster("", network), count)


def print_simulated(profiles: dict[str, StepProfile], clusters: list[Cluster]) -> None:
    for case, profile in profiles.items():
        print()
        print(f"{case}, efficiency by number of processes; {sum(profile.sizes) / 2**20:.1f} MiB of gradients")
        table = comparison.Table({"cluster": 36} | {str(count): 5 for count in COUNTS})
        for cluster in clusters:
            table.print_row(cluster.name, *(f"{efficiency(profile, cluster, count):.2f}" for count in COUNTS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="NETWORK:PIXELS:BATCH (images per process), can be repeated")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 3], help="numbers of processes (default: 2 3)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps per process (default: 10)")
    parser.add_argument(
        "--clusters",
        type=Path,
        default=Path(__file__).with_name("clusters.csv"),
        metavar="FILE",
        help="latency and bandwidth of each cluster, and how often processes are slow (default: clusters.csv)",
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    cases = options.case or CASES
    if options.measure:
        result = measure(cases[0], options.steps)
        if os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
            options.measure.write_text(json.dumps(result), encoding="utf-8")
        print("measured")
        return
    clusters = read_clusters(options.clusters)
    measured, profiles = MeasuredRounds(), {}
    for case in cases:
        for count in options.processes:
            one, several = partial(run, larger_batch(case, count), 1), partial(run, case, count)
            results = [
                {**several(options.steps), "one process": one(options.steps)["alone"]["end"]}
                for _ in range(options.pairs)
            ]
            measured.add(case, count, results)
        profiles[case] = measured_profile(run(case, 1, options.steps))
    print_simulated(profiles, clusters)
    written = {
        f"{case} x {count}": {"step": [one["during"]["end"] for one in results]}
        for (case, count), results in measured.rounds.items()
    }
    comparison.write_results(options, "Several processes", "seconds", written)


if __name__ == "__main__":
    main()
