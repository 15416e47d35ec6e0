"""Write a network in the formats of an export: Paddle Inference, ONNX and OpenVINO."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle

from ppzoo import yaml_io
from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.engines import require_installed
from ppzoo.deploy.export_dir import (
    DIGESTS,
    FORMAT_FILES,
    ONNX,
    OPENVINO,
    PADDLE,
    SETTINGS,
    ExportedModel,
)
from ppzoo.deploy.onnx_engines import read_openvino
from ppzoo.deploy.onnx_graph import DEFAULT_OPSET, MIN_OPSET, NotConvertibleError
from ppzoo.deploy.onnx_model import onnx_model
from ppzoo.deploy.probabilities import Probabilities
from ppzoo.errors import ConfigError
from ppzoo.files import sha256
from ppzoo.weights.export_archives import PARAMETERS, PROGRAM, PROGRAM_FILES

FORMATS = (PADDLE, ONNX, OPENVINO)
USUAL_ENGINES = {PADDLE: "paddle", ONNX: "onnxruntime", OPENVINO: "openvino"}


@dataclass(frozen=True)
class ExportOptions:
    """How a network is exported.

    Attributes:
        formats: some of `FORMATS`.
        legacy: write "paddle" as `inference.pdmodel`, which PaddlePaddle 2 reads.
        features: add the features before the classifier as a second output.
        normalization: if given, the ONNX and OpenVINO models take uint8 pixels and normalize them.
        opset: version of ONNX's operators.
    """

    formats: tuple[str, ...] = (PADDLE,)
    legacy: bool = False
    features: bool = False
    normalization: Normalization | None = None
    opset: int = DEFAULT_OPSET


def require_format_packages(options: ExportOptions, precision: str = "float32") -> None:
    """Check that the formats exist, that the packages are installed, and that ONNX has the opset.

    Args:
        precision: "int8" needs ONNX Runtime, whose quantizer also quantizes models for OpenVINO.

    Raises:
        ConfigError: one of these is not the case.
    """
    for kind in options.formats:
        if kind not in FORMATS:
            raise ConfigError(f"format: expected one of {', '.join(FORMATS)}, got {kind!r}")
        require_installed(USUAL_ENGINES[kind], f"format: {kind}")
    if precision == "int8":
        require_installed(USUAL_ENGINES[ONNX], "precision: int8")
    if ONNX in options.formats or OPENVINO in options.formats:
        from onnx import defs

        latest = defs.onnx_opset_version()
        if not MIN_OPSET <= options.opset <= latest:
            raise ConfigError(f"--opset: expected {MIN_OPSET} to {latest}, got {options.opset}")


def write_formats(
    model: Probabilities,
    image_shape: Sequence[int],
    work: Path,
    staged: Path,
    settings: Mapping[str, Any],
    options: ExportOptions,
) -> bytes:
    """Write a network in all formats of `options` and return the ONNX model, which is empty if none was made.

    Args:
        work: an empty folder for the program that the formats are converted from.
        staged: an empty folder for the formats.
        settings: the content of `inference.yml`, part of which becomes metadata.

    Raises:
        ConfigError: the network cannot be converted.
        OSError: a file cannot be written.
    """
    is_converted = ONNX in options.formats or OPENVINO in options.formats
    program = None  # the other formats are converted from it
    if PADDLE in options.formats and options.legacy:
        with _old_representation():
            write_program(model, image_shape, staged)
    elif PADDLE in options.formats:
        program = write_program(model, image_shape, staged)
    if not is_converted:
        return b""
    program = program or write_program(model, image_shape, work)
    exported = ExportedModel(program.parent, program, program.with_name(PARAMETERS), {}, "")
    metadata = model_metadata(settings)
    try:
        serialized, _ = onnx_model(exported, options.normalization, opset=options.opset, metadata=metadata)
    except NotConvertibleError as error:
        raise ConfigError(f"format: {error}; use the format {PADDLE}") from error
    if ONNX in options.formats:
        (name,) = FORMAT_FILES[ONNX, "float32"]
        (staged / name).write_bytes(serialized)
    if OPENVINO in options.formats:
        write_openvino(serialized, staged / FORMAT_FILES[OPENVINO, "float32"][0], metadata)
    return serialized


def write_program(model: paddle.nn.Layer, image_shape: Sequence[int], folder: Path) -> Path:
    """Write the program of a network with a dynamic batch size, and return its file."""
    spec = paddle.static.InputSpec([None, *image_shape], "float32", "image")
    paddle.jit.save(model, str(folder / PROGRAM), input_spec=[spec])
    return next(folder / name for name in PROGRAM_FILES if (folder / name).is_file())


def write_openvino(serialized: bytes, file: Path, metadata: Mapping[str, str]) -> None:
    """Convert an ONNX model with OpenVINO's own converter; the weights are not rounded to float16.

    Raises:
        ConfigError: OpenVINO cannot convert it.
    """
    import openvino

    try:
        converted = read_openvino(serialized)
    except RuntimeError as error:  # for example a pooling window that is larger than the image
        raise ConfigError(
            f"format: {OPENVINO}: OpenVINO cannot convert the network for images of this size; use the format {PADDLE}"
            f" or {ONNX}, or a larger Global.image_shape"
        ) from error
    for key, value in metadata.items():
        converted.set_rt_info(value, ["ppzoo", key])
    openvino.save_model(converted, str(file), compress_to_fp16=False)


def write_settings(folder: Path, settings: Mapping[str, Any], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write `inference.yml` with the SHA-256 of each other file in the folder; return file name -> SHA-256.

    Args:
        known: file name -> SHA-256 of the files that have not changed; the others are read.
    """
    known, names = known or {}, sorted(file.name for file in folder.iterdir() if file.name != SETTINGS)
    digests = {name: known.get(name) or sha256(folder / name) for name in names}
    (folder / SETTINGS).write_text(yaml_io.dump({**settings, DIGESTS: digests}), encoding="utf-8")
    return digests


def model_metadata(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return architecture, class names and preprocessing for the metadata of a model; the latter two as JSON."""
    labels: list[str] = next((options["label_list"] for options in settings["PostProcess"].values() if options), [])
    return {
        "architecture": str(settings.get("Global", {}).get("model_name", "")),
        "class_names": json.dumps(labels, ensure_ascii=False),
        "preprocessing": json.dumps(settings["PreProcess"]["transform_ops"], ensure_ascii=False),
    }


@contextmanager
def _old_representation() -> Iterator[None]:
    """Let PaddlePaddle 3 write programs in the representation of PaddlePaddle 2; in PaddlePaddle 2, do nothing."""
    guard = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", None)
    if guard is None:
        yield
        return
    with guard():
        paddle.disable_static()  # the guard enables static mode, and expects static mode at its end
        try:
            yield
        finally:
            paddle.enable_static()
