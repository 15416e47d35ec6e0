"""Convert an exported program to an ONNX model.

ppzoo has its own converter because Paddle2ONNX cannot be installed with Python 3.13 (it requires onnx of at most 1.17).
It supports the operators that the exports of the model zoo have, in PaddlePaddle 3's intermediate representation.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.export_dir import PROGRAM, ExportedModel
from ppzoo.deploy.onnx_converters import CONVERTERS
from ppzoo.errors import ConfigError

OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "image", "probabilities"


def is_pir_program(exported: ExportedModel) -> bool:
    """Return whether an export is in PaddlePaddle 3's intermediate representation (PIR)."""
    return exported.program.suffix == ".json"


def onnx_model(exported: ExportedModel, normalization: Normalization | None = None) -> tuple[bytes, list[int]]:
    """Return the serialized ONNX model and the image shape, C x H x W. The batch size is dynamic.

    The model takes N x C x H x W float32; with `normalization`, N x H x W x C uint8, which it normalizes.
    The package onnx must be installed.

    Raises:
        ConfigError: the export is PaddlePaddle 2's, has a dynamic image size, or an operator that is not supported.
    """
    if not is_pir_program(exported):
        raise ConfigError(
            f"{exported.program}: expected an export of PaddlePaddle 3, which can be converted to ONNX, got one of"
            " PaddlePaddle 2; export the network again with PaddlePaddle 3, or use engine='paddle'"
        )
    # In a folder with nothing else: PaddlePaddle can unpickle other files that it finds next to the program.
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as directory:
        for file in (exported.program, exported.parameters):
            _link_or_copy(file.resolve(), Path(directory) / file.name)
        loaded = paddle.jit.load(str(Path(directory) / PROGRAM))
    graph = Graph({value.name: value.numpy() for value in loaded.state_dict().values()}, normalization)
    for operation in loaded.program().global_block().ops:
        graph.add(operation)
    return graph.serialized(), graph.image_shape


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:  # Windows allows symbolic links only with a privilege
        shutil.copyfile(source, target)


class Graph:
    """The ONNX graph under construction.

    Attributes:
        names: id of a value in PaddlePaddle's program -> its ONNX name; a list of names for a list of tensors.
        constants: id of a value -> its content, for values that become attributes.
    """

    def __init__(self, parameters: dict[str, np.ndarray], normalization: Normalization | None) -> None:
        self.parameters, self.normalization = parameters, normalization
        self.names: dict[str, Any] = {}
        self.constants: dict[str, Any] = {}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.image_shape: list[int] = []
        self.output = ""
        self.class_num = 0

    def add(self, operation: Any) -> None:
        dialect, _, name = operation.name().partition(".")
        if (dialect, name) == ("pd_op", "split"):  # `builtin.split` takes a list of tensors apart
            name = "split_in_sections"
        if name not in CONVERTERS:
            raise ConfigError(
                f"engine: expected operators that can be converted to ONNX, got {operation.name()}; use engine='paddle'"
            )
        CONVERTERS[name](self, Operation(self, operation))

    def node(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f"{kind}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def images(self) -> str:
        """Return the name of the network's input, after the normalization if there is one."""
        if self.normalization is None:
            return INPUT
        from onnx import TensorProto

        channels, height, width = self.image_shape
        if len(self.normalization.scale) != channels:
            received = len(self.normalization.scale)
            raise ConfigError(f"NormalizeImage: expected mean and std of {channels} channels, got {received}")
        rows = self.constant(np.array([-1, height, width * channels]))  # engines are slow with a last axis of C
        (values,) = self.node("Cast", self.node("Reshape", [INPUT, rows]), to=TensorProto.FLOAT)
        for kind, per_channel in zip(("Mul", "Add"), self.normalization, strict=True):
            (values,) = self.node(kind, [values, self.constant(np.tile(per_channel, width))])
        pixels = self.constant(np.array([-1, height, width, channels]))
        return self.node("Transpose", self.node("Reshape", [values, pixels]), perm=[0, 3, 1, 2])[0]

    def serialized(self) -> bytes:
        from onnx import TensorProto, helper

        kind, shape = TensorProto.FLOAT, self.image_shape
        if self.normalization is not None:
            kind, shape = TensorProto.UINT8, [*shape[1:], shape[0]]
        images = helper.make_tensor_value_info(INPUT, kind, ["batch", *shape])
        outputs = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", self.class_num])
        self.nodes.append(helper.make_node("Identity", [self.output], [OUTPUT]))
        graph = helper.make_graph(self.nodes, "network", [images], [outputs], self.initializers)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()


class Operation:
    """An operation of PaddlePaddle's program, as the converters use it."""

    def __init__(self, graph: Graph, operation: Any) -> None:
        self.graph, self.operation = graph, operation
        self.attributes = operation.attrs()
        self.operands = [operand.source() for operand in operation.operands()]

    def input(self, index: int = 0) -> Any:
        """Return the ONNX name of an operand; a list of names if it is a list of tensors."""
        return self.graph.names[self.operands[index].id]

    def constant(self, index: int) -> Any:
        """Return the value of a constant operand."""
        return self.graph.constants[self.operands[index].id]

    def shape(self) -> list[int]:
        """Return the shape of the first result, with -1 for dynamic dimensions."""
        return list(self.operation.results()[0].shape)

    def set_result(self, name: Any) -> None:
        """Make `name` the ONNX name of the first result."""
        self.graph.names[self.operation.results()[0].id] = name

    def set_result_node(self, kind: str, inputs: list[str], **attributes: Any) -> None:
        self.set_result(self.graph.node(kind, inputs, **attributes)[0])

    def require(self, **expected: Any) -> None:
        for key, value in expected.items():
            if self.attributes[key] != value:
                raise ConfigError(
                    f"engine: expected {self.operation.name()} with {key} {value}, got {self.attributes[key]}; use"
                    " engine='paddle'"
                )

    def pads(self, kernel: Sequence[int]) -> list[int]:
        """Return the padding in ONNX's order: the start of each axis, then the end of each axis."""
        if self.attributes["padding_algorithm"] == "SAME":
            sizes, strides = self.operands[0].shape[2:], self.attributes["strides"]
            same = [_same_padding(*axis) for axis in zip(sizes, kernel, strides, strict=True)]
            return [before for before, _ in same] + [after for _, after in same]
        self.require(padding_algorithm="EXPLICIT")
        pads = list(self.attributes["paddings"])
        return pads * 2 if len(pads) == 2 else [pads[0], pads[2], pads[1], pads[3]]


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the paddings before and after `size` values with which a window has ceil(size / stride) positions."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
