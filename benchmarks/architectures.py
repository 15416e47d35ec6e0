"""Time per image of every architecture at its input size: prediction of one image, and a training step.

    python benchmarks/architectures.py --json docs/architecture_speed.json     # all architectures
    python benchmarks/architectures.py --architectures LeNet MobileNetV2       # prints the table only

- "inference" is `Predictor.predict` of one uint8 image of the input size, with engine "auto" (the engine is chosen
  before the first round): normalization, network and postprocessing.
- "training" is the time of a training step with --batch images, divided by that number, as in benchmarks/train.py.

Each value is the median of --rounds separate processes, each of which warms up and reports its median time. It is
recorded in `records.jsonl` in the folder --work as soon as it is measured. If started again, the program skips what is
recorded for the same version of the code and the same batch. A measurement that fails (for example for lack of memory)
is reported, and the program continues with the next one; it ends with exit status 1.

After `python docs/hooks/reference.py`, docs/reference_architectures.md has the values of docs/architecture_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import comparison
import infer
import numpy as np
import train
from results import digest_code

from ppzoo.files import write_text
from ppzoo.models import MODELS, table
from ppzoo.native.env_settings import find_missing_settings

MEASUREMENTS = ("inference", "training")
RECORDS = "records.jsonl"
TRAINING_STEPS = 5


class Task(NamedTuple):
    """One measurement; `version` is the digest of ppzoo's source code."""

    architecture: str
    measurement: str
    batch: int
    version: str


def main() -> None:
    options = parse_options()
    if options.measure:
        print(measure(options.measure, options.architectures[0], options.batch, options.folder))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    version = digest_code()
    printed = comparison.Table({"architecture": 30, **{f"{name} (ms)": 16 for name in MEASUREMENTS}})
    failures: list[str] = []
    for name in options.architectures:
        tasks = [Task(name, measurement, options.batch, version) for measurement in MEASUREMENTS]
        values = [measure_once(task, options.rounds, options.work, failures) for task in tasks]
        printed.print_row(name, *("-" if value is None else f"{value:.2f}" for value in values))
    if options.json:
        write_text(options.json, json.dumps(summarize(options, version), indent=1) + "\n")
    if failures:
        sys.exit("\n".join(failures))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="NAME")
    parser.add_argument("--batch", type=int, default=8, help="images per training step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="processes per measurement (default: %(default)s)")
    parser.add_argument(
        "--work", type=Path, default=Path("output/architectures"), metavar="FOLDER", help="folder for records.jsonl"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the values to this file")
    parser.add_argument("--measure", choices=["export", *MEASUREMENTS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_once(task: Task, rounds: int, work: Path, failures: list[str]) -> float | None:
    """Return the recorded milliseconds per image, or measure and record them; None if the measurement fails."""
    recorded = comparison.read_records(work / RECORDS, Task).get(task)
    if recorded:
        return recorded["milliseconds"]
    try:
        values = run_rounds(task, rounds)
    except SystemExit as error:  # of `comparison.run_subprocess`
        failures.append(str(error))
        return None
    milliseconds = statistics.median(values)
    comparison.add_record(
        work / RECORDS, task, {"milliseconds": milliseconds, "rounds": values, "date": f"{date.today()}"}
    )
    return milliseconds


def run_rounds(task: Task, rounds: int) -> list[float]:
    """Return the milliseconds per image of each round."""
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
        run = partial(run_process, task.architecture, task.batch, folder)
        if task.measurement == "inference":
            run("export")
        return [run(task.measurement) for _ in range(rounds)]


def run_process(name: str, batch: int, folder: str, kind: str) -> float:
    """Run `measure` in a separate process."""
    command = [sys.executable, __file__, "--measure", kind, "--architectures", name]
    command += ["--batch", str(batch), "--folder", folder]
    variables = find_missing_settings(os.environ) if kind == "training" else {}
    return float(comparison.run_subprocess(command, f"{name}, {kind}", variables))


def measure(kind: str, name: str, batch: int, folder: Path) -> float:
    """Return the median milliseconds per image in this process; "export" exports the network and returns 0."""
    (row,) = table.build_rows([name])
    channels, height, width = row["input"]
    if kind == "training":
        step = train.paddle_step(name, height, batch, "on", "float32")
        return comparison.median_milliseconds(step, train.WARM_UP, TRAINING_STEPS, min_seconds=0) / batch
    if kind == "export":
        export(name, folder, [channels, height, width])
    predict = predict_function(folder, [height, width, channels])  # chooses the engine after the export
    if kind == "export":
        return 0.0
    return comparison.median_milliseconds(predict, infer.WARM_UP, infer.WARM_UP, infer.MIN_SECONDS)


def export(name: str, folder: Path, shape: list[int]) -> None:
    """Export a network with random weights that takes images of its input size."""
    import ppzoo
    from ppzoo import deploy

    network = ppzoo.create_model(name, class_num=infer.CLASSES)
    operations = infer.SETTINGS["PreProcess"]["transform_ops"]
    kept = [one for one in operations if not {"ResizeImage", "CropImage"} & set(one)]
    deploy.export(network, folder, shape, {**infer.SETTINGS, "PreProcess": {"transform_ops": kept}})


def predict_function(folder: Path, shape: list[int]) -> Callable[[], object]:
    """Return a function that predicts the classes of one random image of H x W x C."""
    import ppzoo

    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    predictor = ppzoo.Predictor(folder, batch_size=1)
    return lambda: predictor.predict([image])


def summarize(options: argparse.Namespace, version: str) -> dict[str, Any]:
    """Return the content of the JSON file: the values by architecture, and how they were measured."""
    records = {
        task: entry
        for task, entry in comparison.read_records(options.work / RECORDS, Task).items()
        if (task.batch, task.version) == (options.batch, version) and task.architecture in options.architectures
    }
    values: dict[str, dict[str, float]] = {}
    for task, entry in records.items():
        values.setdefault(task.architecture, {})[task.measurement] = entry["milliseconds"]
    return {
        "benchmark": "Speed of the architectures",
        "unit": "milliseconds per image",
        "machine": comparison.machine(),
        "code": version,
        "date": max((entry["date"] for entry in records.values()), default=None),
        "batch": options.batch,
        "architectures": values,
    }


if __name__ == "__main__":
    main()
