"""Write a model repository for NVIDIA Triton Inference Server from an export.

The layout is that of https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md:
one folder per model with `config.pbtxt`, the class names, and a folder per version.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ppzoo.deploy.export_dir import DEPLOYMENT, FORMAT_FILES, ONNX, ExportedModel
from ppzoo.deploy.onnx_graph import INPUT, OUTPUTS
from ppzoo.errors import one_line
from ppzoo.files import make_folder, write_atomically, write_text

REPOSITORY, VERSION, LABELS, CONFIG = "triton", "1", "labels.txt", "config.pbtxt"
BACKENDS = {ONNX: "onnxruntime", "openvino": "openvino"}
SUFFIXES = (".onnx", ".xml", ".bin")
MAX_BATCH_SIZE = 32
MAX_QUEUE_DELAY = 2000  # microseconds that a request waits for others to form a batch


def write_triton(exported: ExportedModel, kind: str, name: str) -> Path:
    """Write the format `kind` of an export, in the precision of the export, as the model `name` of a repository.

    Returns:
        The repository, a folder in the export's folder.

    Raises:
        OSError: it cannot be written.
    """
    deployment = exported.settings[DEPLOYMENT]
    stored = "int8" if deployment["precision"] == "int8" else "float32"
    folder = exported.folder / REPOSITORY / name
    make_folder(folder / VERSION)
    for suffix in SUFFIXES:
        (folder / VERSION / f"model{suffix}").unlink(missing_ok=True)
    for file in FORMAT_FILES[kind, stored]:
        write_atomically(folder / VERSION / f"model{Path(file).suffix}", partial(_copy, exported.folder / file))
    labels = exported.labels
    if labels:
        write_text(folder / LABELS, "".join(f"{one_line(label)}\n" for label in labels))
    write_text(folder / CONFIG, describe_model(deployment, kind, name, has_labels=bool(labels)))
    return exported.folder / REPOSITORY


def remove_triton(folder: Path, name: str) -> None:
    """Remove the model `name` of an earlier export from the repository in the export's folder.

    Raises:
        OSError: it cannot be removed.
    """
    model = folder / REPOSITORY / name
    if model.is_dir():
        shutil.rmtree(model)


def describe_model(deployment: dict[str, Any], kind: str, name: str, *, has_labels: bool) -> str:
    """Return the content of `config.pbtxt`, a protocol buffer in text format.

    Args:
        deployment: the section `Deployment` of `inference.yml`.
        has_labels: whether the repository has the class names, so that Triton's clients can request them.
    """
    channels, height, width = deployment["image_shape"]
    has_pixels = deployment["with_preprocessing"]
    shape = [height, width, channels] if has_pixels else [channels, height, width]
    outputs = []
    for output in OUTPUTS:
        if output in deployment["outputs"]:
            labels = f" label_filename: {json.dumps(LABELS)}" if has_labels and output == OUTPUTS[0] else ""
            columns = deployment["outputs"][output]
            outputs.append(f"  {{ name: {json.dumps(output)} data_type: TYPE_FP32 dims: [ {columns} ]{labels} }}")
    lines = [
        f"name: {json.dumps(name)}",
        f"backend: {json.dumps(BACKENDS[kind])}",
        f"max_batch_size: {MAX_BATCH_SIZE}",
        "input [",
        f"  {{ name: {json.dumps(INPUT)} data_type: TYPE_{'UINT8' if has_pixels else 'FP32'} dims: {shape} }}",
        "]",
        "output [",
        ",\n".join(outputs),
        "]",
        f"dynamic_batching {{ max_queue_delay_microseconds: {MAX_QUEUE_DELAY} }}",
        "instance_group [ { kind: KIND_CPU } ]",
    ]
    return "\n".join(lines) + "\n"


def _copy(source: Path, target: BinaryIO) -> None:
    with open(source, "rb") as file:
        shutil.copyfileobj(file, target)
