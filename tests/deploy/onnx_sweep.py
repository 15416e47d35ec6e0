"""Export every architecture to ONNX, and compare ONNX Runtime with the network on 100 crops of photos.

    python tests/deploy/onnx_sweep.py PHOTOS --output sweep.jsonl                       # all architectures, 64 pixels
    python tests/deploy/onnx_sweep.py PHOTOS --output large.jsonl --size 224 --only 'ResNet18|GhostNet_.*'
    python tests/deploy/onnx_sweep.py PHOTOS --output openvino.jsonl --families --openvino

Each network gets random weights that are conditioned: its batch norms have the statistics of their inputs, and its
last layer is scaled so that the probabilities differ between photos. In RepVGG, the batch norms without a convolution
are left as identities, and the parallel convolutions are scaled down: otherwise, rounding grows in each of the up to
47 layers until other classes win. The model runs in batches of 1 and 7; all probabilities have to be within 1e-4 of the
network's, and the most probable classes have to be equal. A difference above 1e-4 passes only if a comparison with
float64 shows that it is rounding. The exit status is 1 if one fails.

Architectures that the output file has already are skipped, so that the sweep can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from PIL import Image

from ppzoo import deploy
from ppzoo.deploy.export_check import CheckImages
from ppzoo.deploy.rounding import is_rounding
from ppzoo.errors import PpzooError
from ppzoo.layers import Classifier
from ppzoo.layers.classifier import sublayer_at
from ppzoo.models import MODELS
from ppzoo.models.model_stats import model_stats
from ppzoo.models.repvgg import RepVGGBlock

PHOTOS, CALIBRATION, CLASSES = 100, 32, 20
BATCHES = (7, 1)
TOLERANCE = 1e-4
LOGIT_SPREAD = 2.0  # standard deviation of the logits between photos
BRANCH_SCALE = 0.1  # of RepVGG's convolutions that are parallel to an identity
SETTINGS: dict[str, Any] = {
    "PreProcess": {"transform_ops": [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 5, "label_list": []}},
}
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def crop_photos(folder: Path, size: int, count: int = PHOTOS) -> np.ndarray:
    """Return random square crops of the JPEG and PNG files in a folder, normalized, N x 3 x size x size float32."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise SystemExit(f"PHOTOS: expected a folder with .jpg or .png files, got {folder}")
    random, crops = np.random.default_rng(0), []
    for number in range(count):
        photo = Image.open(files[number % len(files)]).convert("RGB")
        side = int(min(photo.size) * random.uniform(0.4, 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in photo.size)
        crops.append(np.asarray(photo.resize((size, size), box=(left, top, left + side, top + side))))
    return np.ascontiguousarray(((np.stack(crops) / np.float32(255) - MEAN) / STD).transpose(0, 3, 1, 2))


def condition(network: Classifier, photos: np.ndarray) -> None:
    """Give the batch norms the statistics of their inputs, and scale the last layer and the branches of RepVGG."""
    for layer in network.sublayers():
        if isinstance(layer, (paddle.nn.BatchNorm, paddle.nn.BatchNorm2D, paddle.nn.BatchNorm1D)):
            layer._momentum = 0.0
    blocks = [layer for layer in network.sublayers() if isinstance(layer, RepVGGBlock) and layer.rbr_identity]
    for block in blocks:
        block.rbr_identity._use_global_stats = True
        for branch in (block.rbr_dense, block.rbr_1x1):
            branch.bn.weight.set_value(branch.bn.weight * BRANCH_SCALE)
    network.train()
    with paddle.no_grad():
        network(paddle.to_tensor(photos))
        network.eval()
        logits = first(network(paddle.to_tensor(photos)))
        spread = float((logits - logits.mean(0, keepdim=True)).std())
        head = sublayer_at(network, network.head_layers[0])
        head.weight.set_value(head.weight * (LOGIT_SPREAD / max(spread, 1e-8)))


def first(output: Any) -> paddle.Tensor:
    return output[0] if isinstance(output, (list, tuple)) else output


def find_size(network: Classifier, name: str, size: int) -> int:
    """Return `size` if the network can take such images, else the size that it was designed for."""
    native = MODELS[name].image_shape[1]
    network.eval()
    try:
        with paddle.no_grad():
            network(paddle.zeros([1, 3, min(size, native), min(size, native)]))
    except ValueError:
        return native
    return min(size, native)


def in_batches(compute: Any, images: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([compute(images[start : start + size]) for start in range(0, len(images), size)])


def check(name: str, folder: Path, size: int, *, openvino: bool = False) -> dict[str, Any]:
    """Return the size of the images and, for each format and batch size, the difference and the equal classes.

    Args:
        folder: of the photos.
    """
    with paddle.utils.unique_name.guard():
        paddle.seed(0)
        network = MODELS[name].build(class_num=CLASSES)
    assert isinstance(network, Classifier)
    size = find_size(network, name, size)
    photos = crop_photos(folder, size)
    condition(network, photos[:CALIBRATION])
    reference = deploy.Probabilities(network)
    reference.eval()
    expected = in_batches(lambda batch: deploy.predict_probabilities(reference, batch), photos, max(BATCHES))
    formats = ("onnx", "openvino") if openvino else ("onnx",)
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as temporary:
        export, few = Path(temporary) / "export", CheckImages(photos[:3], None, "the photos")
        deploy.export_formats(
            network, export, [3, size, size], SETTINGS, deploy.ExportOptions(formats=formats), images=few
        )
        result: dict[str, Any] = {"size": size, "mean_top1": float(expected.max(1).mean())}
        for kind in formats:
            compute = open_model(export, kind)
            for batch in BATCHES:
                found = in_batches(compute, photos, batch)
                equal = int((found.argmax(1) == expected.argmax(1)).sum())
                result[f"{kind}, batch {batch}"] = [float(np.abs(found - expected).max()), equal]
            if max(result[f"{kind}, batch {batch}"][0] for batch in BATCHES) > TOLERANCE:
                result[f"{kind} is rounding"] = is_rounding(
                    reference, lambda batch, compute=compute: [compute(batch)], photos[:8], TOLERANCE
                )
    return result


def open_model(export: Path, kind: str) -> Any:
    """Return the function from images to probabilities of an exported model, in its own engine without ppzoo's."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(export / "inference.onnx", providers=["CPUExecutionProvider"])
        return lambda batch: session.run(["probabilities"], {"image": batch})[0]
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(export / "inference.xml", "CPU", options)
    return lambda batch: compiled([batch])[0]


def is_failure(result: dict[str, Any]) -> bool:
    """Return whether a result is an error, a difference that is not rounding, or another class."""
    if "error" in result:
        return True
    for key, value in result.items():
        if isinstance(value, list):
            rounding = result.get(f"{key.partition(',')[0]} is rounding", False)
            if value[1] < PHOTOS or (value[0] > TOLERANCE and not rounding):
                return True
    return False


def cheapest_of_families(names: Iterable[str]) -> list[str]:
    ordered = sorted(names, key=lambda name: -model_stats()[name].flops)
    return sorted({MODELS[name].network.__module__: name for name in ordered}.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder of photos, .jpg or .png")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON Lines; it is extended")
    parser.add_argument("--only", default=".*", metavar="PATTERN", help="regular expression of complete names")
    parser.add_argument("--size", type=int, default=64, help="of the images, if the network can take it (default: 64)")
    parser.add_argument("--families", action="store_true", help="only the cheapest architecture of each family")
    parser.add_argument("--openvino", action="store_true", help="check the format openvino, too")
    options = parser.parse_args(arguments)
    done = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    names = [name for name in MODELS if re.fullmatch(options.only, name)]
    names = cheapest_of_families(names) if options.families else names
    known = {result["name"]: result for result in done}
    for name in sorted(names, key=lambda name: model_stats()[name].flops):
        if name in known:
            continue
        started = time.perf_counter()
        try:
            result = check(name, options.photos, options.size, openvino=options.openvino)
        except (PpzooError, ValueError, RuntimeError) as error:
            result = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        known[name] = {"name": name, "seconds": round(time.perf_counter() - started, 1), **result}
        with open(options.output, "a", encoding="utf-8") as file:
            print(json.dumps(known[name]), file=file)
        print("FAILED" if is_failure(result) else "ok", json.dumps(known[name]), flush=True)
    failures = [name for name in names if is_failure(known[name])]
    print(f"{len(names)} architectures, {len(failures)} failed: {', '.join(failures) or 'none'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
