"""Answers from decoded images, beside bare ONNX Runtime and OpenVINO sessions on tensors that are ready.

    python benchmarks/infer.py                                  # the cases of docs/performance.md
    python benchmarks/infer.py --case MobileNetV3_small_x1_0:8 --image 640x480

`Predictor` takes 500 x 375 x 3 arrays of bytes, resizes, crops and normalizes them and answers classes, scores and
labels; its engine is "auto", which is measured beforehand. The sessions run the same network on a 224 x 224 tensor that
is there already, with its batch size fixed and its memory shared. "openvino" computes in float32, as ppzoo does;
"openvino, own precision" as OpenVINO decides by itself, which is bfloat16 where the processor has it. Each round runs
every contestant in turn in a process of its own, which warms up and answers the median time of a batch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comparison
import numpy as np

CASES = ["MobileNetV2_x0_5:1", "MobileNetV2_x0_5:8", "ResNet18:1", "ResNet18:8"]
CONTESTANTS = ["ppzoo", "paddle", "onnxruntime", "openvino", "openvino, own precision"]
FAIR_PEERS = ["onnxruntime", "openvino"]
SIZE, CLASSES = 224, 1000
WARM_UP, SECONDS = 10, 1.0
MODEL = "model.onnx"
SETTINGS: dict[str, Any] = {
    "PreProcess": {
        "transform_ops": [
            {"ResizeImage": {"resize_short": 256}},
            {"CropImage": {"size": SIZE}},
            {
                "NormalizeImage": {
                    "scale": "1.0/255.0",
                    "mean": [0.485, 0.456, 0.406],
                    "std": [0.229, 0.224, 0.225],
                    "order": "",
                }
            },
            {"ToCHWImage": None},
        ]
    },
    "PostProcess": {"Topk": {"topk": 5, "label_list": [f"class {index}" for index in range(CLASSES)]}},
}


def export(name: str, folder: Path) -> None:
    """A network with random weights as an export, and as ONNX for the bare sessions."""
    import ppzoo
    from ppzoo import deploy
    from ppzoo.deploy.onnx_model import onnx_model

    deploy.export(ppzoo.create_model(name, class_num=CLASSES), folder, [3, SIZE, SIZE], SETTINGS)
    (folder / MODEL).write_bytes(onnx_model(deploy.open_export(folder))[0])


def predictor(folder: Path, batch: int, image: str, engine: str) -> Callable[[], object]:
    import ppzoo

    width, height = map(int, image.split("x"))
    images = list(np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8))
    answering = ppzoo.Predictor(folder, batch_size=batch, engine=engine)  # type: ignore[arg-type]
    return lambda: answering.predict(images)


def session(folder: Path, batch: int, contestant: str) -> Callable[[], object]:
    """A bare session on a ready tensor, at its best settings."""
    tensor = np.random.default_rng(0).standard_normal((batch, 3, SIZE, SIZE), dtype=np.float32)
    if contestant == "onnxruntime":
        import onnxruntime

        running = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
        return lambda: running.run(None, {"image": tensor})
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / MODEL)
    model.reshape([batch, 3, SIZE, SIZE])
    options = {"PERFORMANCE_HINT": "LATENCY"} | (
        {"INFERENCE_PRECISION_HINT": "f32"} if contestant == "openvino" else {}
    )
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer([tensor], share_inputs=True, share_outputs=True)


def measure(contestant: str, folder: Path, batch: int, image: str) -> float:
    """Median milliseconds of a batch in this process."""
    if contestant in ("ppzoo", "paddle"):
        answer = predictor(folder, batch, image, "auto" if contestant == "ppzoo" else "paddle")
    else:
        answer = session(folder, batch, contestant)
    for _ in range(WARM_UP):
        answer()
    times = []
    finish = time.perf_counter() + SECONDS
    while time.perf_counter() < finish or len(times) < WARM_UP:
        started = time.perf_counter()
        answer()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def run(contestant: str, folder: Path, batch: int, image: str) -> float:
    command = [sys.executable, __file__, "--measure", contestant, "--folder", str(folder)]
    command += ["--case", f":{batch}", "--image", image]
    return float(comparison.last_line(command, contestant, {}))


def compare(case: str, pairs: int, image: str) -> comparison.Figures:
    name, batch = case.split(":")
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as place:
        folder = Path(place)
        export(name, folder)
        run("ppzoo", folder, int(batch), image)  # chooses the engine
        contestants = {
            contestant: lambda contestant=contestant: run(contestant, folder, int(batch), image)
            for contestant in CONTESTANTS
        }
        figures = comparison.rounds(contestants, pairs)
    figures["faster of both"] = [min(times) for times in zip(*(figures[peer] for peer in FAIR_PEERS), strict=True)]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="NETWORK:BATCH, several times; the table's by default")
    parser.add_argument("--image", default="500x375", metavar="WIDTHxHEIGHT", help="size of the decoded images")
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    comparison.add_outputs(parser)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure, options.folder, int(options.case[0].split(":")[1]), options.image))
        return
    cases = {}
    for case in options.case or CASES:
        figures = cases[case] = compare(case, options.pairs, options.image)
        speeds = ", ".join(f"{name} {statistics.median(times):.2f} ms" for name, times in figures.items())
        against = "; ".join(
            f"{comparison.spread(comparison.ratios(figures[name], figures['ppzoo']))} x {name}"
            for name in figures
            if name != "ppzoo"
        )
        print(f"{case}: {speeds}: {against}", flush=True)
    comparison.write(options, "Inference from decoded images", "milliseconds a batch", cases)


if __name__ == "__main__":
    main()
