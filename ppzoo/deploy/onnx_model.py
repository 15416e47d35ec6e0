"""Convert an exported program to an ONNX model.

ppzoo has its own converter because Paddle2ONNX cannot be installed with Python 3.13 (it requires onnx of at most 1.17),
and because OpenVINO cannot read PaddlePaddle 3's programs. The converter supports the operators that the exports of
ppzoo's architectures have, in PaddlePaddle 3's intermediate representation.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import paddle

from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.export_dir import ExportedModel
from ppzoo.deploy.onnx_graph import DEFAULT_OPSET, INPUT, Graph, NotConvertibleError, Operation
from ppzoo.deploy.onnx_operators import CONVERTERS
from ppzoo.weights.export_archives import PROGRAM

__all__ = ["INPUT", "is_pir_program", "onnx_model"]


def is_pir_program(exported: ExportedModel) -> bool:
    """Return whether an export has a program in PaddlePaddle 3's intermediate representation (PIR)."""
    return "paddle" in exported.formats and exported.program.suffix == ".json"


def onnx_model(
    exported: ExportedModel,
    normalization: Normalization | None = None,
    *,
    opset: int = DEFAULT_OPSET,
    metadata: Mapping[str, str] | None = None,
) -> tuple[bytes, list[int]]:
    """Return the serialized ONNX model and the image shape, C x H x W. The batch size is dynamic.

    The model takes N x C x H x W float32; with `normalization`, N x H x W x C uint8, which it normalizes.
    The package onnx must be installed.

    Args:
        opset: version of ONNX's operators, see `onnx_graph.MIN_OPSET`.
        metadata: entries of the model's metadata.

    Raises:
        NotConvertibleError: the export is PaddlePaddle 2's, has a dynamic image size, or an unsupported operator.
    """
    if not is_pir_program(exported):
        raise NotConvertibleError(
            f"{exported.program}: expected an export of PaddlePaddle 3, which can be converted to ONNX, got one of"
            " PaddlePaddle 2; export the network again with PaddlePaddle 3"
        )
    # Load from a folder with nothing else: PaddlePaddle can unpickle other files that it finds next to the program.
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as directory:
        for file in (exported.program, exported.parameters):
            _link_or_copy(file.resolve(), Path(directory) / file.name)
        loaded = paddle.jit.load(str(Path(directory) / PROGRAM))
    parameters = {value.name: value.numpy() for value in loaded.state_dict().values()}
    graph = Graph(parameters, normalization, opset)
    for operation in loaded.program().global_block().ops:
        dialect, _, name = operation.name().partition(".")
        if (dialect, name) == ("pd_op", "split"):  # `builtin.split` unpacks a list of tensors
            name = "split_in_sections"
        if name not in CONVERTERS:
            raise NotConvertibleError(f"expected operators that can be converted to ONNX, got {operation.name()}")
        CONVERTERS[name](graph, Operation(graph, operation))
    return graph.serialized(metadata or {}), graph.image_shape


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:  # Windows allows symbolic links only with a privilege
        shutil.copyfile(source, target)
