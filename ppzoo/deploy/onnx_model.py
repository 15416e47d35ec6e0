"""Convert an exported program to an ONNX model.

ppzoo has its own converter because Paddle2ONNX cannot be installed with Python 3.13 (it requires onnx of at most 1.17).
It supports the operators that the exports of the model zoo have, in PaddlePaddle 3's intermediate representation.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.export_dir import PROGRAM, ExportedModel
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
    graph = _Graph({value.name: value.numpy() for value in loaded.state_dict().values()}, normalization)
    for operation in loaded.program().global_block().ops:
        graph.add(operation)
    return graph.serialized(), graph.image_shape


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:  # Windows allows symbolic links only with a privilege
        shutil.copyfile(source, target)


class _Graph:
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
        name = operation.name().partition(".")[2]
        if name not in _CONVERTERS:
            raise ConfigError(
                f"engine: expected operators that can be converted to ONNX, got {operation.name()}; use engine='paddle'"
            )
        _CONVERTERS[name](self, _Operation(self, operation))

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
        rows = self.constant(
            np.array([-1, height, width * channels])
        )  # engines are slow if the last axis has only the channels
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


class _Operation:
    """An operation of PaddlePaddle's program, as the converters below use it."""

    def __init__(self, graph: _Graph, operation: Any) -> None:
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

    def pads(self) -> list[int]:
        """Return the attribute `paddings` in ONNX's order: the start of each axis, then the end of each axis."""
        pads = list(self.attributes["paddings"])
        return pads * 2 if len(pads) == 2 else [pads[0], pads[2], pads[1], pads[3]]


def _one_to_one(kind: str, operands: int = 1) -> Callable[[_Graph, _Operation], None]:
    """Return the converter of an operation that ONNX has with the same meaning."""
    return lambda graph, op: op.set_result_node(kind, [op.input(index) for index in range(operands)])


def _parameter(graph: _Graph, op: _Operation) -> None:
    op.set_result(graph.constant(graph.parameters[op.attributes["parameter_name"]]))


def _data(graph: _Graph, op: _Operation) -> None:
    graph.image_shape = op.shape()[1:]
    if min(graph.image_shape) < 1:
        raise ConfigError(f"engine: expected a fixed image size, got {graph.image_shape}; use engine='paddle'")
    op.set_result(graph.images())


def _constant(graph: _Graph, op: _Operation) -> None:
    graph.constants[op.operation.results()[0].id] = op.attributes["value"]


def _output(graph: _Graph, op: _Operation) -> None:
    graph.output, graph.class_num = op.input(), op.operands[0].shape[-1]


def _combine(graph: _Graph, op: _Operation) -> None:
    op.set_result([op.input(index) for index in range(len(op.operands))])


def _unpack_list(graph: _Graph, op: _Operation) -> None:
    for name, result in zip(op.input(), op.operation.results(), strict=True):
        graph.names[result.id] = name


def _conv(graph: _Graph, op: _Operation) -> None:
    op.require(data_format="NCHW", padding_algorithm="EXPLICIT")
    options = {key: list(op.attributes[key]) for key in ("strides", "dilations")}
    op.set_result_node("Conv", [op.input(0), op.input(1)], pads=op.pads(), group=op.attributes["groups"], **options)


def _batch_norm(graph: _Graph, op: _Operation) -> None:
    op.require(data_format="NCHW", is_test=True)
    x, mean, variance, scale, bias = (op.input(index) for index in range(5))
    op.set_result_node("BatchNormalization", [x, scale, bias, mean, variance], epsilon=op.attributes["epsilon"])


def _pool(graph: _Graph, op: _Operation) -> None:
    op.require(data_format="NCHW", padding_algorithm="EXPLICIT")
    is_average = op.attributes["pooling_type"] == "avg"
    if op.attributes["global_pooling"] or (op.attributes["adaptive"] and op.shape()[2:] == [1, 1]):
        op.set_result_node("GlobalAveragePool" if is_average else "GlobalMaxPool", [op.input()])
        return
    op.require(adaptive=False)
    options: dict[str, Any] = {"count_include_pad": int(not op.attributes["exclusive"])} if is_average else {}
    op.set_result_node(
        "AveragePool" if is_average else "MaxPool",
        [op.input()],
        kernel_shape=list(op.constant(1)),
        strides=list(op.attributes["strides"]),
        pads=op.pads(),
        ceil_mode=int(op.attributes["ceil_mode"]),
        **options,
    )


def _reshape(graph: _Graph, op: _Operation) -> None:
    shape = op.shape()
    if shape.count(-1) > 1:
        raise ConfigError(
            f"engine: expected a fixed image size, got {op.operation.name()} to {shape}; use engine='paddle'"
        )
    op.set_result_node("Reshape", [op.input(), graph.constant(np.array(shape, np.int64))])


def _matmul(graph: _Graph, op: _Operation) -> None:
    op.require(transpose_x=False, transpose_y=False)
    op.set_result_node("MatMul", [op.input(0), op.input(1)])


def _clip_at_6(graph: _Graph, op: _Operation) -> None:
    bounds = [graph.constant(np.array(bound, np.float32)) for bound in (0, 6)]
    op.set_result_node("Clip", [op.input(), *bounds])


def _swish(graph: _Graph, op: _Operation) -> None:
    op.set_result_node("Mul", [op.input(), *graph.node("Sigmoid", [op.input()])])


def _hard_sigmoid(graph: _Graph, op: _Operation) -> None:
    op.set_result_node("HardSigmoid", [op.input()], alpha=op.attributes["slope"], beta=op.attributes["offset"])


def _softmax(graph: _Graph, op: _Operation) -> None:
    op.set_result_node("Softmax", [op.input()], axis=op.attributes["axis"])


def _dropout(graph: _Graph, op: _Operation) -> None:
    """In inference "downscale_in_infer" multiplies by the keep probability; "upscale_in_train" does nothing."""
    if op.attributes["mode"] == "upscale_in_train":
        op.set_result(op.input())
        return
    keep_probability = graph.constant(np.array(1 - op.constant(2), np.float32))
    op.set_result_node("Mul", [op.input(), keep_probability])


def _concat(graph: _Graph, op: _Operation) -> None:
    op.set_result_node("Concat", op.input(), axis=int(op.constant(1)))


def _stack(graph: _Graph, op: _Operation) -> None:
    axis = op.attributes["axis"]
    axes = graph.constant(np.array([axis], np.int64))
    op.set_result_node("Concat", [graph.node("Unsqueeze", [name, axes])[0] for name in op.input()], axis=axis)


def _split(graph: _Graph, op: _Operation) -> None:
    op.set_result(graph.node("Split", [op.input()], op.attributes["num"], axis=int(op.constant(1))))


_CONVERTERS: dict[str, Callable[[_Graph, _Operation], None]] = {
    "parameter": _parameter,
    "data": _data,
    **dict.fromkeys(("full", "full_int_array"), _constant),
    **dict.fromkeys(("shadow_output", "fetch"), _output),
    "combine": _combine,
    "split": _unpack_list,
    **dict.fromkeys(("conv2d", "depthwise_conv2d"), _conv),
    "batch_norm_": _batch_norm,
    "pool2d": _pool,
    **dict.fromkeys(("flatten", "reshape", "unsqueeze"), _reshape),
    "matmul": _matmul,
    "add": _one_to_one("Add", 2),
    "multiply": _one_to_one("Mul", 2),
    "relu": _one_to_one("Relu"),
    "relu6": _clip_at_6,
    "sigmoid": _one_to_one("Sigmoid"),
    "hardswish": _one_to_one("HardSwish"),
    "swish": _swish,
    "hardsigmoid": _hard_sigmoid,
    "softmax": _softmax,
    "dropout": _dropout,
    "concat": _concat,
    "stack": _stack,
    "split_with_num": _split,
}
