"""Add a lower precision to an export, if the accuracy on the evaluation data stays within a given drop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppzoo.deploy.engines import Engine, require_bfloat16
from ppzoo.deploy.export_check import CheckImages, open_format
from ppzoo.deploy.export_dir import FORMAT_FILES, ONNX, OPENVINO, ExportedModel
from ppzoo.deploy.formats import write_openvino
from ppzoo.deploy.quantization import Quantizer
from ppzoo.errors import ConfigError

logger = logging.getLogger("ppzoo")

Evaluate = Callable[[Mapping[str, Engine]], dict[str, float]]
Reopen = Callable[[], ExportedModel]


@dataclass(frozen=True)
class LowerPrecision:
    """A lower precision to add.

    Attributes:
        precision: "bfloat16" or "int8".
        calibration: the images that int8 is calibrated with; None for bfloat16.
        evaluate: returns the top-1 accuracy of each of several engines on the evaluation data.
        max_drop: the largest drop of the accuracy.
    """

    precision: str
    calibration: CheckImages | None
    evaluate: Evaluate
    max_drop: float


def add_precision(
    request: LowerPrecision, exported: ExportedModel, onnx_file: bytes, metadata: Mapping[str, str], reopen: Reopen
) -> dict[str, Any]:
    """Write the int8 models next to those in float32, and return the entries for `inference.yml`.

    For bfloat16 nothing is written: OpenVINO computes the float32 model in bfloat16.

    Args:
        exported: the export in float32.
        onnx_file: the network as an ONNX model.
        metadata: entries of the models' metadata.
        reopen: opens the export again after files were added.

    Raises:
        ConfigError: the accuracy drops too much, or the processor does not have that precision.
    """
    kinds = [kind for kind in exported.formats if kind == OPENVINO or (kind == ONNX and request.precision == "int8")]
    float32 = {"float32": open_format(kinds[0], exported)}
    if request.precision == "bfloat16":
        require_bfloat16()
        found = request.evaluate({**float32, **{kind: open_format(kind, exported, "bfloat16") for kind in kinds}})
        baseline = found.pop("float32")
        if baseline - min(found.values()) > request.max_drop:
            raise _drop_error(request, baseline, min(found.values()), "")
        return _describe(baseline, found)
    assert request.calibration is not None
    images = request.calibration
    quantizer = Quantizer(onnx_file, images.images if images.pixels is None else images.pixels)
    ranking: list[str] = []
    kept, baseline = 0, 0.0
    while True:
        quantized = quantizer.quantize(ranking[:kept])
        for kind in kinds:
            _write_int8(kind, exported.folder, quantized, metadata)
        renewed = reopen()
        engines = {kind: open_format(kind, renewed, "int8") for kind in kinds}
        found = request.evaluate(engines if kept else {**float32, **engines})
        baseline = found.pop("float32", baseline)
        lowest = min(found.values())
        if baseline - lowest <= request.max_drop:
            return {
                **_describe(baseline, found),
                "calibration": {"images": len(images.images), "source": images.source},
                "float32_layers": ranking[:kept],
            }
        logger.info("int8 with %d layers in float32: top-1 %.4f; float32: top-1 %.4f", kept, lowest, baseline)
        ranking = ranking or quantizer.rank_layers()
        if 2 * kept > len(ranking):
            raise _drop_error(request, baseline, lowest, f", also with {kept} of {len(ranking)} layers in float32")
        kept = max(1, 2 * kept)


def _write_int8(kind: str, folder: Path, quantized: bytes, metadata: Mapping[str, str]) -> None:
    names = FORMAT_FILES[kind, "int8"]
    if kind == ONNX:
        (folder / names[0]).write_bytes(quantized)
    else:
        write_openvino(quantized, folder / names[0], metadata)


def _describe(baseline: float, found: Mapping[str, float]) -> dict[str, Any]:
    return {"top1_float32": baseline, **{f"top1_{kind}": value for kind, value in found.items()}}


def _drop_error(request: LowerPrecision, baseline: float, found: float, more: str) -> ConfigError:
    return ConfigError(
        f"--precision {request.precision}: expected a drop of top-1 of at most {request.max_drop:g}, got"
        f" {baseline - found:.4f} ({baseline:.4f} to {found:.4f}){more}; nothing was exported: raise --max-drop, or"
        " export in float32"
    )
