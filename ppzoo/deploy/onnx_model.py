"""An exported program as an ONNX model, for the engines that read that.

Written here because Paddle2ONNX cannot be installed with Python 3.13 (it wants onnx of at most 1.17). It covers the
operators of which the zoo's exported networks consist, in PaddlePaddle 3's intermediate representation.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo.deploy.export_dir import PROGRAM, ExportedModel
from ppzoo.deploy.batch import Normalization
from ppzoo.errors import ConfigError

OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "image", "probabilities"


def is_pir_program(exported: ExportedModel) -> bool:
    """Whether an export's program is in PaddlePaddle 3's intermediate representation."""
    return exported.program.suffix == ".json"


def onnx_model(exported: ExportedModel, normalization: Normalization | None = None) -> tuple[bytes, list[int]]:
    """The model, serialized, and the shape of an image in the export, C x H x W. Its batch size is free.

    It takes N x C x H x W float32; with `normalization` N x H x W x C bytes, which it normalizes.
    The package onnx must be installed.

    Raises:
        ConfigError: an export of PaddlePaddle 2 or of no single image size, or an operator that is not known here.
    """
    if not is_pir_program(exported):
        raise ConfigError(
            f"{exported.program}: expected an export of PaddlePaddle 3 for the engines that read ONNX, got one of"
            " PaddlePaddle 2: export anew, or use engine='paddle'"
        )
    # PaddlePaddle may unpickle what lies beside the program under a name of its own.
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as place:
        for file in (exported.program, exported.parameters):
            (Path(place) / file.name).symlink_to(file.resolve())
        loaded = paddle.jit.load(str(Path(place) / PROGRAM))
    graph = _Graph({value.name: value.numpy() for value in loaded.state_dict().values()}, normalization)
    for operation in loaded.program().global_block().ops:
        graph.add(operation)
    return graph.serialized(), graph.image_shape


class _Graph:
    """The ONNX graph under construction.

    Attributes:
        names: PaddlePaddle's values by their identity -> ONNX names, a list of them for a list of tensors.
        constants: values that become attributes.
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
        if name not in _WRITERS:
            raise ConfigError(
                f"engine: expected operators that can be written as ONNX, got {operation.name()}: use engine='paddle'"
            )
        _WRITERS[name](self, _Operation(self, operation))

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
        """The images as the network takes them."""
        if self.normalization is None:
            return INPUT
        from onnx import TensorProto

        channels, height, width = self.image_shape
        if len(self.normalization.factors) != channels:
            received = len(self.normalization.factors)
            raise ConfigError(f"NormalizeImage: expected mean and std of {channels} channels, got {received}")
        rows = self.constant(np.array([-1, height, width * channels]))  # engines are slow with vectors of `channels`
        (values,) = self.node("Cast", self.node("Reshape", [INPUT, rows]), to=TensorProto.FLOAT)
        for kind, of_channels in zip(("Mul", "Add"), self.normalization, strict=True):
            (values,) = self.node(kind, [values, self.constant(np.tile(of_channels, width))])
        pixels = self.constant(np.array([-1, height, width, channels]))
        return self.node("Transpose", self.node("Reshape", [values, pixels]), perm=[0, 3, 1, 2])[0]

    def serialized(self) -> bytes:
        from onnx import TensorProto, helper

        kind, shape = TensorProto.FLOAT, self.image_shape
        if self.normalization is not None:
            kind, shape = TensorProto.UINT8, [*shape[1:], shape[0]]
        images = helper.make_tensor_value_info(INPUT, kind, ["batch", *shape])
        answers = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", self.class_num])
        self.nodes.append(helper.make_node("Identity", [self.output], [OUTPUT]))
        graph = helper.make_graph(self.nodes, "network", [images], [answers], self.initializers)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()


class _Operation:
    """What a writer asks of an operation of PaddlePaddle's program."""

    def __init__(self, graph: _Graph, operation: Any) -> None:
        self.graph, self.operation = graph, operation
        self.attributes = operation.attrs()
        self.operands = [operand.source() for operand in operation.operands()]

    def input(self, index: int = 0) -> Any:
        """ONNX name of an operand; a list of names where it is a list of tensors."""
        return self.graph.names[self.operands[index].id]

    def constant(self, index: int) -> Any:
        """Value of an operand that the program computes from nothing."""
        return self.graph.constants[self.operands[index].id]

    def shape(self) -> list[int]:
        """The first result's shape, -1 where it is not known."""
        return list(self.operation.results()[0].shape)

    def answer(self, name: Any) -> None:
        """Let `name` be the first result."""
        self.graph.names[self.operation.results()[0].id] = name

    def answer_node(self, kind: str, inputs: list[str], **attributes: Any) -> None:
        self.answer(self.graph.node(kind, inputs, **attributes)[0])

    def require(self, **expected: Any) -> None:
        for key, value in expected.items():
            if self.attributes[key] != value:
                raise ConfigError(
                    f"engine: expected {self.operation.name()} with {key} {value}, got {self.attributes[key]}: use"
                    " engine='paddle'"
                )

    def pads(self) -> list[int]:
        """The attribute `paddings` as ONNX has it: before all axes, then after them."""
        pads = list(self.attributes["paddings"])
        return pads * 2 if len(pads) == 2 else [pads[0], pads[2], pads[1], pads[3]]


def _one_to_one(kind: str, operands: int = 1) -> Callable[[_Graph, _Operation], None]:
    """The writer of an operation that ONNX has as well."""
    return lambda graph, op: op.answer_node(kind, [op.input(index) for index in range(operands)])


def _parameter(graph: _Graph, op: _Operation) -> None:
    op.answer(graph.constant(graph.parameters[op.attributes["parameter_name"]]))


def _data(graph: _Graph, op: _Operation) -> None:
    graph.image_shape = op.shape()[1:]
    if min(graph.image_shape) < 1:
        raise ConfigError(f"engine: expected an export of one image size, got {graph.image_shape}: use engine='paddle'")
    op.answer(graph.images())


def _constant(graph: _Graph, op: _Operation) -> None:
    graph.constants[op.operation.results()[0].id] = op.attributes["value"]


def _output(graph: _Graph, op: _Operation) -> None:
    graph.output, graph.class_num = op.input(), op.operands[0].shape[-1]


def _combine(graph: _Graph, op: _Operation) -> None:
    op.answer([op.input(index) for index in range(len(op.operands))])


def _unpack_list(graph: _Graph, op: _Operation) -> None:
    for name, result in zip(op.input(), op.operation.results(), strict=True):
        graph.names[result.id] = name


def _conv(graph: _Graph, op: _Operation) -> None:
    op.require(data_format="NCHW", padding_algorithm="EXPLICIT")
    options = {key: list(op.attributes[key]) for key in ("strides", "dilations")}
    op.answer_node("Conv", [op.input(0), op.input(1)], pads=op.pads(), group=op.attributes["groups"], **options)


def _batch_norm(graph: _Graph, op: _Operation) -> None:
    op.require(data_format="NCHW", is_test=True)
    x, mean, variance, scale, bias = (op.input(index) for index in range(5))
    op.answer_node("BatchNormalization", [x, scale, bias, mean, variance], epsilon=op.attributes["epsilon"])


def _pool(graph: _Graph, op: _Operation) -> None:
    op.require(data_format="NCHW", padding_algorithm="EXPLICIT")
    is_average = op.attributes["pooling_type"] == "avg"
    if op.attributes["global_pooling"] or (op.attributes["adaptive"] and op.shape()[2:] == [1, 1]):
        op.answer_node("GlobalAveragePool" if is_average else "GlobalMaxPool", [op.input()])
        return
    op.require(adaptive=False)
    options: dict[str, Any] = {"count_include_pad": int(not op.attributes["exclusive"])} if is_average else {}
    op.answer_node(
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
        raise ConfigError(f"engine: expected an export of one image size, got {op.operation.name()} to {shape}")
    op.answer_node("Reshape", [op.input(), graph.constant(np.array(shape, np.int64))])


def _matmul(graph: _Graph, op: _Operation) -> None:
    op.require(transpose_x=False, transpose_y=False)
    op.answer_node("MatMul", [op.input(0), op.input(1)])


def _clip_at_6(graph: _Graph, op: _Operation) -> None:
    bounds = [graph.constant(np.array(bound, np.float32)) for bound in (0, 6)]
    op.answer_node("Clip", [op.input(), *bounds])


def _swish(graph: _Graph, op: _Operation) -> None:
    op.answer_node("Mul", [op.input(), *graph.node("Sigmoid", [op.input()])])


def _hard_sigmoid(graph: _Graph, op: _Operation) -> None:
    op.answer_node("HardSigmoid", [op.input()], alpha=op.attributes["slope"], beta=op.attributes["offset"])


def _softmax(graph: _Graph, op: _Operation) -> None:
    op.answer_node("Softmax", [op.input()], axis=op.attributes["axis"])


def _dropout(graph: _Graph, op: _Operation) -> None:
    """In inference the older kind, which does not scale in training, scales by what training keeps."""
    if op.attributes["mode"] == "upscale_in_train":
        op.answer(op.input())
        return
    kept = graph.constant(np.array(1 - op.constant(2), np.float32))
    op.answer_node("Mul", [op.input(), kept])


def _concat(graph: _Graph, op: _Operation) -> None:
    op.answer_node("Concat", op.input(), axis=int(op.constant(1)))


def _stack(graph: _Graph, op: _Operation) -> None:
    axis = op.attributes["axis"]
    where = graph.constant(np.array([axis], np.int64))
    op.answer_node("Concat", [graph.node("Unsqueeze", [name, where])[0] for name in op.input()], axis=axis)


def _split(graph: _Graph, op: _Operation) -> None:
    op.answer(graph.node("Split", [op.input()], op.attributes["num"], axis=int(op.constant(1))))


_WRITERS: dict[str, Callable[[_Graph, _Operation], None]] = {
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
