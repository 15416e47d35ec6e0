"""Time of `Predictor.predict` from decoded images, compared with ONNX Runtime and OpenVINO on prepared tensors.

    python benchmarks/infer.py                                  # the cases of docs/performance.md
    python benchmarks/infer.py --case MobileNetV3_small_x1_0:8 --image 640x480

- "ppzoo" is a `Predictor` with engine "auto" (the engine is chosen before the first round). It takes uint8 arrays of
  500 x 375 pixels, resizes, crops and normalizes them, runs the network, and returns classes, scores and labels.
- "paddle" is the same with engine "paddle" (Paddle Inference).
- "onnxruntime" and "openvino" run the same network in float32 on a prepared 224 x 224 tensor, without preprocessing and
  postprocessing, with a fixed batch size and shared memory.
- "openvino-default" is OpenVINO with its default precision: bfloat16 where the processor supports it.

Each round runs every implementation once, each in a separate process that warms up and reports the median time of a
batch. The last column is the shorter time of "onnxruntime" and "openvino", divided by that of "ppzoo" and computed
within each round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import comparison
import numpy as np

CASES = ["MobileNetV2_x0_5:1", "MobileNetV2_x0_5:8", "ResNet18:1", "ResNet18:8"]
IMPLEMENTATIONS = ["ppzoo", "paddle", "onnxruntime", "openvino", "openvino-default"]
FLOAT32_SESSIONS = ["onnxruntime", "openvino"]
SIZE, CLASSES = 224, 1000
WARM_UP, MIN_SECONDS = 10, 1.0
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
    """Export a network with random weights, and write its ONNX model for the sessions."""
    import ppzoo
    from ppzoo import deploy
    from ppzoo.deploy.onnx_model import onnx_model

    deploy.export(ppzoo.create_model(name, class_num=CLASSES), folder, [3, SIZE, SIZE], SETTINGS)
    (folder / MODEL).write_bytes(onnx_model(deploy.open_export(folder))[0])


def predict_function(folder: Path, batch: int, image: str, engine: str) -> Callable[[], object]:
    import ppzoo

    width, height = map(int, image.split("x"))
    images = list(np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8))
    predictor = ppzoo.Predictor(folder, batch_size=batch, engine=engine)  # type: ignore[arg-type]
    return lambda: predictor.predict(images)


def session_function(folder: Path, batch: int, implementation: str) -> Callable[[], object]:
    """Return a function that runs ONNX Runtime or OpenVINO on a prepared tensor, with its fastest settings."""
    tensor = np.random.default_rng(0).standard_normal((batch, 3, SIZE, SIZE), dtype=np.float32)
    if implementation == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"image": tensor})
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / MODEL)
    model.reshape([batch, 3, SIZE, SIZE])
    options = {"PERFORMANCE_HINT": "LATENCY"} | (
        {"INFERENCE_PRECISION_HINT": "f32"} if implementation == "openvino" else {}
    )
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer([tensor], share_inputs=True, share_outputs=True)


def measure(implementation: str, folder: Path, batch: int, image: str) -> float:
    """Return the median milliseconds per batch in this process."""
    if implementation in ("ppzoo", "paddle"):
        run_batch = predict_function(folder, batch, image, "auto" if implementation == "ppzoo" else "paddle")
    else:
        run_batch = session_function(folder, batch, implementation)
    return comparison.median_milliseconds(run_batch, WARM_UP, WARM_UP, MIN_SECONDS)


def run(implementation: str, folder: Path, batch: int, image: str) -> float:
    """Run `measure` in a separate process."""
    command = [sys.executable, __file__, "--measure", implementation, "--folder", str(folder)]
    command += ["--case", f":{batch}", "--image", image]
    return float(comparison.run_subprocess(command, implementation, {}))


def compare(case: str, rounds: int, image: str) -> comparison.Results:
    """Return the milliseconds per batch of each implementation in each round."""
    name, batch = case.split(":")
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as temporary:
        folder = Path(temporary)
        export(name, folder)
        run("ppzoo", folder, int(batch), image)  # choose the engine before anything is measured
        measurements = {name: partial(run, name, folder, int(batch), image) for name in IMPLEMENTATIONS}
        return comparison.run_rounds(measurements, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="NETWORK:BATCH, can be repeated (default: 4 cases)")
    parser.add_argument(
        "--image", default="500x375", metavar="WIDTHxHEIGHT", help="size of the decoded images (default: %(default)s)"
    )
    parser.add_argument("--measure", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    comparison.add_output_arguments(parser)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure, options.folder, int(options.case[0].split(":")[1]), options.image))
        return
    columns = {"network:batch": 26, **dict.fromkeys(IMPLEMENTATIONS, 9)}
    table = comparison.Table(columns | {"faster of onnxruntime and openvino / ppzoo": comparison.RATIO_WIDTH})
    cases = {}
    for case in options.case or CASES:
        results = cases[case] = compare(case, options.pairs, options.image)
        faster = [min(times) for times in zip(*(results[name] for name in FLOAT32_SESSIONS), strict=True)]
        times = [f"{statistics.median(values):.2f} ms" for values in results.values()]
        table.print_row(case, *times, comparison.summarize(comparison.ratios(faster, results["ppzoo"])))
    comparison.write_results(options, "Inference from decoded images", "milliseconds per batch", cases)


if __name__ == "__main__":
    main()
