"""Time of `ppzoo infer EXPORT FOLDER --output FILE.csv`, compared with decoding alone and the engine alone.

    python benchmarks/batch_inference.py photos/                           # a folder with images at any depth
    python benchmarks/batch_inference.py photos/ --case ResNet18:224 --pairs 3

- "infer" predicts all images of the folder and writes the table. Loading the network is not included.
- "decode" reads, decodes and prepares the same images in the same worker processes, without a network.
- "engine" runs the network on as many prepared images, in the same batches.

All of them use all cores.

- "overlap" is the longer time of "decode" and "engine", divided by the time of "infer". It is 1 if the shorter one adds
  no time.
- "efficiency" is the sum of the times of "decode" and "engine", divided by the time of "infer": on a CPU both share the
  cores, and "infer" does the work of both.
- "processor time" is "efficiency" computed from the processor time of all processes, which other programs on the
  machine influence least. It is 1 if "infer" does nothing in addition to "decode" and "engine".

Each round runs all three.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import comparison
import numpy as np

CASES = ["MobileNetV2_x0_5:64", "MobileNetV2_x0_5:224"]
CLASSES = 1000
BATCH = 32


def export(name: str, size: int, folder: Path) -> None:
    """Export a network with random weights."""
    import ppzoo
    from ppzoo import deploy

    normalize = {"scale": "1.0/255.0", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": ""}
    ops = [{"DecodeImage": {}}, {"ResizeImage": {"size": size}}, {"NormalizeImage": normalize}, {"ToCHWImage": None}]
    labels = [f"class {index}" for index in range(CLASSES)]
    settings: dict[str, Any] = {
        "PreProcess": {"transform_ops": ops},
        "PostProcess": {"Topk": {"topk": 5, "label_list": labels}},
    }
    deploy.export(ppzoo.create_model(name, class_num=CLASSES), folder, [3, size, size], settings)


def measurements(exported: Path, images: Path, engine: str) -> dict[str, Callable[[], float]]:
    import ppzoo
    from ppzoo import builders

    predictor = ppzoo.Predictor(exported, batch_size=BATCH, engine=engine)  # type: ignore[arg-type]
    model = builders.batch_model_of_export(predictor)
    count = builders.count_source(images)
    assert count is not None
    photo = next(images.rglob("*.jp*g"), None)
    if photo is None:
        raise SystemExit(f"images: expected a folder with .jpg or .jpeg files, got {images}")
    prepared = predictor.preprocess(photo.read_bytes())
    if predictor.engine.takes_pixels:
        prepared = np.zeros((*prepared.shape[1:], prepared.shape[0]), np.uint8)
    batch = np.ascontiguousarray(np.stack([prepared] * BATCH))

    def write_table(changed: builders.BatchModel) -> float:
        with tempfile.TemporaryDirectory() as folder:
            task = builders.TableTask(images, Path(folder) / "table.csv")
            started = time.perf_counter()
            with builders.open_table(changed, task) as table:
                builders.fill_table(changed, task, table, count)
            return time.perf_counter() - started

    def run_engine() -> float:
        started = time.perf_counter()
        for _ in range(-(-count // BATCH)):
            model.predict([batch], ["image"] * BATCH)
        return time.perf_counter() - started

    nothing = {"label_names": [], "scores": []}
    decode_only = replace(model, predict=lambda stacks, names: [nothing] * len(names))
    return {"infer": partial(write_table, model), "decode": partial(write_table, decode_only), "engine": run_engine}


def record_processor_time(measure: Callable[[], float], seconds: list[float]) -> Callable[[], float]:
    """Return `measure`, changed to append to `seconds` the processor time of this process and its ended children."""

    def used() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    def run() -> float:
        before = used()
        result = measure()
        seconds.append(used() - before)
        return result

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder of JPEG images")
    parser.add_argument("--case", action="append", help="NETWORK:SIZE, can be repeated (default: 2 cases)")
    parser.add_argument("--engine", default="auto", help="the engine of ppzoo.Predictor (default: auto)")
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    columns = {"network:size": 26, "infer": 9, "decode": 9, "engine": 9}
    summaries = ["overlap", "efficiency", "processor time"]
    table = comparison.Table(columns | dict.fromkeys(summaries, comparison.RATIO_WIDTH))
    cases = {}
    for case in options.case or CASES:
        name, size = case.split(":")
        with tempfile.TemporaryDirectory(prefix="ppzoo-") as folder:
            export(name, int(size), Path(folder))
            functions = measurements(Path(folder), options.images, options.engine)
            used: comparison.Results = {kind: [] for kind in functions}
            recorded = {kind: record_processor_time(function, used[kind]) for kind, function in functions.items()}
            results = cases[case] = comparison.run_rounds(recorded, options.pairs)
        alone, work = (list(zip(times["decode"], times["engine"], strict=True)) for times in (results, used))
        ratios = [comparison.ratios([*map(combine, alone)], results["infer"]) for combine in (max, sum)]
        ratios.append(comparison.ratios([*map(sum, work)], used["infer"]))
        times = [f"{statistics.median(values):.1f} s" for values in results.values()]
        table.print_row(case, *times, *map(comparison.summarize, ratios))
    comparison.write_results(options, "Predictions of a folder of images as a table", "seconds", cases)


if __name__ == "__main__":
    main()
