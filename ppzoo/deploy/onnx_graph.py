"""The ONNX graph under construction, and PaddlePaddle's operations as the converters see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppzoo.deploy.batch import Normalization
from ppzoo.errors import ConfigError

INPUT, OUTPUTS = "image", ("probabilities", "features")
MIN_OPSET, DEFAULT_OPSET = 13, 17


class NotConvertibleError(ConfigError):
    """The program cannot be converted to ONNX."""


class Graph:
    """The ONNX graph under construction.

    Attributes:
        names: id of a value in PaddlePaddle's program -> its ONNX name; a list of names for a list of tensors.
        constants: id of a value -> its content, for values that become attributes.
        outputs: name and number of columns of each output, in the order of `OUTPUTS`.
    """

    def __init__(self, parameters: dict[str, np.ndarray], normalization: Normalization | None, opset: int) -> None:
        self.parameters, self.normalization, self.opset = parameters, normalization, opset
        self.names: dict[str, Any] = {}
        self.constants: dict[str, Any] = {}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.image_shape: list[int] = []
        self.outputs: list[tuple[str, int]] = []

    def node(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f"{kind}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, f"{kind}_{len(self.nodes)}", **attributes))
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
        self.normalization.require_channels(channels)
        # Engines are slow if the last axis has only the channels.
        rows = self.constant(np.array([-1, height, width * channels]))
        (values,) = self.node("Cast", self.node("Reshape", [INPUT, rows]), to=TensorProto.FLOAT)
        for kind, per_channel in zip(("Mul", "Add"), self.normalization, strict=True):
            (values,) = self.node(kind, [values, self.constant(np.tile(per_channel, width))])
        pixels = self.constant(np.array([-1, height, width, channels]))
        return self.node("Transpose", self.node("Reshape", [values, pixels]), perm=[0, 3, 1, 2])[0]

    def serialized(self, metadata: Mapping[str, str]) -> bytes:
        from onnx import TensorProto, helper

        kind, shape = TensorProto.FLOAT, self.image_shape
        if self.normalization is not None:
            kind, shape = TensorProto.UINT8, [*shape[1:], shape[0]]
        images = helper.make_tensor_value_info(INPUT, kind, ["batch", *shape])
        named = list(zip(OUTPUTS, self.outputs, strict=False))
        nodes = [*self.nodes, *(helper.make_node("Identity", [source], [name]) for name, (source, _) in named)]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]) for name, (_, columns) in named
        ]
        graph = helper.make_graph(nodes, "network", [images], outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        version = helper.find_min_ir_version_for(opsets)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name="ppzoo")
        helper.set_model_props(model, dict(metadata))
        return model.SerializeToString()


class Operation:
    """An operation of PaddlePaddle's program, as the converters in `onnx_operators` use it."""

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
                raise NotConvertibleError(
                    f"expected {self.operation.name()} with {key} {value}, got {self.attributes[key]}"
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
