"""Speed of `Predictor.predict` from decoded images, compared with OpenVINO's `benchmark_app` at the same precision.

    python benchmarks/openvino_app.py                             # ResNet18 and EfficientNet_lite0, 224 pixels
    python benchmarks/openvino_app.py --case ResNet18:int8:8 --case inference/ResNet18:bfloat16:1

A case is NETWORK:PRECISION:BATCH, where NETWORK is an architecture, which gets random weights, or the folder of an
export with the format openvino. Needs `ppzoo[openvino,onnxruntime]`.

- "ppzoo" is a `Predictor` with engine "auto". It takes uint8 arrays of 500 x 375 pixels, resizes, crops and normalizes
  them, runs the network, and returns classes, scores and labels.
- "app" is `benchmark_app` on the exported OpenVINO model with random tensors, without preprocessing and
  postprocessing: one synchronous request of the same batch size, and for several images also asynchronous requests of
  one image each, which is its default. The faster of the two is used. The layers that int8 leaves in float run in
  float32 in both programs.

The last column is ppzoo's throughput divided by that of "app", computed within each round.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import comparison
import infer
import numpy as np

NETWORKS, PRECISIONS, BATCHES = ("ResNet18", "EfficientNet_lite0"), ("bfloat16", "int8"), (1, 8)
CASES = [f"{network}:{precision}:{batch}" for network in NETWORKS for precision in PRECISIONS for batch in BATCHES]
SECONDS = 5
MODELS = {"float32": "inference.xml", "bfloat16": "inference.xml", "int8": "inference_int8.xml"}
THROUGHPUT = re.compile(r"Throughput:\s+([\d.]+) FPS")


def export(name: str, folder: Path) -> None:
    """Export a network with random weights in float32 and int8; the accuracy is not evaluated."""
    import ppzoo
    from ppzoo import deploy

    shape = [3, infer.SIZE, infer.SIZE]
    images = np.random.default_rng(0).standard_normal((16, *shape), dtype=np.float32)
    lower = deploy.LowerPrecision(
        "int8", deploy.CheckImages(images, None, "random numbers"), lambda engines: dict.fromkeys(engines, 1.0), 0.0
    )
    options = deploy.ExportOptions(formats=("paddle", "onnx", "openvino"))
    network = ppzoo.create_model(name, class_num=infer.CLASSES)
    deploy.export_formats(network, folder, shape, infer.SETTINGS, options, lower=lower)


def run_app(model: Path, batch: int, precision: str, options: list[str]) -> float:
    """Return the images per second that `benchmark_app` reports."""
    hint = {"bfloat16": "bf16"}.get(precision, "f32")
    shape = f"[{batch},3,{infer.SIZE},{infer.SIZE}]"
    program = shutil.which("benchmark_app", path=str(Path(sys.executable).parent)) or "benchmark_app"
    command = [program, "-m", str(model), "-d", "CPU", "-shape", shape, "-t", str(SECONDS), "-infer_precision", hint]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    found = THROUGHPUT.search(done.stdout)
    if done.returncode or found is None:
        raise SystemExit(f"benchmark_app: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return float(found[1])


def best_of_app(model: Path, batch: int, precision: str) -> float:
    speeds = [run_app(model, batch, precision, ["-hint", "latency", "-api", "sync"])]
    if batch > 1:
        speeds.append(run_app(model, 1, precision, ["-hint", "throughput"]))
    return max(speeds)


def measure(folder: Path, batch: int, precision: str) -> float:
    """Return the images per second of a `Predictor` in this process."""
    import ppzoo

    images = list(np.random.default_rng(0).integers(0, 256, (batch, 375, 500, 3), dtype=np.uint8))
    predictor = ppzoo.Predictor(folder, batch_size=batch, precision=precision)  # type: ignore[arg-type]
    for _ in range(infer.WARM_UP):
        predictor.predict(images)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        predictor.predict(images)
        count += batch
    return count / (time.perf_counter() - started)


def run_ppzoo(folder: Path, batch: int, precision: str) -> float:
    """Run `measure` in a separate process."""
    command = [sys.executable, __file__, "--measure", str(folder), "--case", f":{precision}:{batch}"]
    return float(comparison.run_subprocess(command, "ppzoo", {}))


def compare(case: str, rounds: int, work: Path) -> comparison.Results:
    name, precision, number = case.rsplit(":", 2)
    folder, batch = Path(name), int(number)
    if not folder.is_dir():
        folder = work / name
        if not folder.is_dir():
            export(name, folder)
    run_ppzoo(folder, batch, precision)  # chooses the engine before anything is measured
    functions: dict[str, Any] = {
        "ppzoo": partial(run_ppzoo, folder, batch, precision),
        "app": partial(best_of_app, folder / MODELS[precision], batch, precision),
    }
    return comparison.run_rounds(functions, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="NETWORK:PRECISION:BATCH, can be repeated (default: 8 cases)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    if options.measure:
        _, precision, batch = options.case[0].rsplit(":", 2)
        print(measure(options.measure, int(batch), precision))
        return
    columns = {"network:precision:batch": 32, "ppzoo": 14, "app": 14}
    table = comparison.Table(columns | {"ppzoo / app": comparison.RATIO_WIDTH})
    cases = {}
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as work:
        for case in options.case or CASES:
            results = cases[case] = compare(case, options.pairs, Path(work))
            speeds = [f"{statistics.median(values):.0f} images/s" for values in results.values()]
            table.print_row(case, *speeds, comparison.summarize(comparison.ratios(results["ppzoo"], results["app"])))
    comparison.write_results(options, "Inference compared with benchmark_app", "images per second", cases)


if __name__ == "__main__":
    main()
