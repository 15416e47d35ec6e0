"""Convert the operators of PaddlePaddle 3's intermediate representation to ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppzoo.deploy.onnx_graph import Graph, NotConvertibleError, Operation


def _one_to_one(kind: str, operands: int = 1) -> Callable[[Graph, Operation], None]:
    """Return the converter of an operation that ONNX has with the same meaning."""
    return lambda graph, op: op.set_result_node(kind, [op.input(index) for index in range(operands)])


def _parameter(graph: Graph, op: Operation) -> None:
    op.set_result(graph.constant(graph.parameters[op.attributes["parameter_name"]]))


def _data(graph: Graph, op: Operation) -> None:
    graph.image_shape = op.shape()[1:]
    if min(graph.image_shape) < 1:
        raise NotConvertibleError(f"expected a fixed image size, got {graph.image_shape}")
    op.set_result(graph.images())


def _constant(graph: Graph, op: Operation) -> None:
    graph.constants[op.operation.results()[0].id] = op.attributes["value"]


def _output(graph: Graph, op: Operation) -> None:
    graph.outputs.append((op.input(), op.operands[0].shape[-1]))


def _combine(graph: Graph, op: Operation) -> None:
    op.set_result([op.input(index) for index in range(len(op.operands))])


def _unpack_list(graph: Graph, op: Operation) -> None:
    for name, result in zip(op.input(), op.operation.results(), strict=True):
        graph.names[result.id] = name


def _conv(graph: Graph, op: Operation) -> None:
    op.require(data_format="NCHW")
    options = {key: list(op.attributes[key]) for key in ("strides", "dilations")}
    if op.attributes["padding_algorithm"] == "SAME":
        options["dilations"] = [1, 1]  # with SAME, PaddlePaddle ignores dilations
    pads = op.pads(op.operands[1].shape[2:])
    op.set_result_node("Conv", [op.input(0), op.input(1)], pads=pads, group=op.attributes["groups"], **options)


def _batch_norm(graph: Graph, op: Operation) -> None:
    op.require(data_format="NCHW", is_test=True)
    x, mean, variance, scale, bias = (op.input(index) for index in range(5))
    op.set_result_node("BatchNormalization", [x, scale, bias, mean, variance], epsilon=op.attributes["epsilon"])


def _pool(graph: Graph, op: Operation) -> None:
    op.require(data_format="NCHW")
    is_average = op.attributes["pooling_type"] == "avg"
    if op.attributes["global_pooling"] or (op.attributes["adaptive"] and op.shape()[2:] == [1, 1]):
        op.set_result_node("GlobalAveragePool" if is_average else "GlobalMaxPool", [op.input()])
        return
    op.require(adaptive=False)
    kernel = list(op.constant(1))
    options: dict[str, Any] = {"count_include_pad": int(not op.attributes["exclusive"])} if is_average else {}
    op.set_result_node(
        "AveragePool" if is_average else "MaxPool",
        [op.input()],
        kernel_shape=kernel,
        strides=list(op.attributes["strides"]),
        pads=op.pads(kernel),
        ceil_mode=int(op.attributes["ceil_mode"]),
        **options,
    )


def _reshape(graph: Graph, op: Operation) -> None:
    shape = op.shape()
    if shape.count(-1) > 1:
        raise NotConvertibleError(f"expected a fixed image size, got {op.operation.name()} to {shape}")
    op.set_result_node("Reshape", [op.input(), graph.constant(np.array(shape, np.int64))])


def _mean(graph: Graph, op: Operation) -> None:
    axes, keep = [int(axis) for axis in op.constant(1)], int(op.attributes["keepdim"])
    if graph.opset >= 18:
        op.set_result_node("ReduceMean", [op.input(), graph.constant(np.array(axes, np.int64))], keepdims=keep)
    else:
        op.set_result_node("ReduceMean", [op.input()], axes=axes, keepdims=keep)


def _matmul(graph: Graph, op: Operation) -> None:
    factors = []
    for index, key in enumerate(("transpose_x", "transpose_y")):
        name = op.input(index)
        if op.attributes[key]:
            axes = list(range(len(op.operands[index].shape)))
            (name,) = graph.node("Transpose", [name], perm=[*axes[:-2], axes[-1], axes[-2]])
        factors.append(name)
    op.set_result_node("MatMul", factors)


def _scale(graph: Graph, op: Operation) -> None:
    op.require(bias=0.0)
    op.set_result_node("Mul", [op.input(), graph.constant(np.array(op.constant(1), np.float32))])


def _clip(graph: Graph, op: Operation) -> None:
    bounds = [graph.constant(np.array(op.constant(index), np.float32)) for index in (1, 2)]
    op.set_result_node("Clip", [op.input(), *bounds])


def _gelu(graph: Graph, op: Operation) -> None:
    """Convert x / 2 * (1 + erf(x / sqrt(2)))."""
    op.require(approximate=False)
    root, one, half = (graph.constant(np.array(value, np.float32)) for value in (2**-0.5, 1.0, 0.5))
    (erf,) = graph.node("Erf", graph.node("Mul", [op.input(), root]))
    (halved,) = graph.node("Mul", [op.input(), half])
    op.set_result_node("Mul", [halved, *graph.node("Add", [erf, one])])


def _clip_at_6(graph: Graph, op: Operation) -> None:
    bounds = [graph.constant(np.array(bound, np.float32)) for bound in (0, 6)]
    op.set_result_node("Clip", [op.input(), *bounds])


def _swish(graph: Graph, op: Operation) -> None:
    op.set_result_node("Mul", [op.input(), *graph.node("Sigmoid", [op.input()])])


def _hard_swish(graph: Graph, op: Operation) -> None:
    if graph.opset >= 14:
        op.set_result_node("HardSwish", [op.input()])
        return
    op.set_result_node("Mul", [op.input(), *graph.node("HardSigmoid", [op.input()], alpha=1 / 6, beta=0.5)])


def _hard_sigmoid(graph: Graph, op: Operation) -> None:
    op.set_result_node("HardSigmoid", [op.input()], alpha=op.attributes["slope"], beta=op.attributes["offset"])


def _softmax(graph: Graph, op: Operation) -> None:
    op.set_result_node("Softmax", [op.input()], axis=op.attributes["axis"])


def _dropout(graph: Graph, op: Operation) -> None:
    """In inference "downscale_in_infer" multiplies by the keep probability; "upscale_in_train" does nothing."""
    if op.attributes["mode"] == "upscale_in_train":
        op.set_result(op.input())
        return
    keep_probability = graph.constant(np.array(1 - op.constant(2), np.float32))
    op.set_result_node("Mul", [op.input(), keep_probability])


def _concat(graph: Graph, op: Operation) -> None:
    op.set_result_node("Concat", op.input(), axis=int(op.constant(1)))


def _stack(graph: Graph, op: Operation) -> None:
    axis = op.attributes["axis"]
    axes = graph.constant(np.array([axis], np.int64))
    op.set_result_node("Concat", [graph.node("Unsqueeze", [name, axes])[0] for name in op.input()], axis=axis)


def _split(graph: Graph, op: Operation) -> None:
    count = op.attributes["num"]
    parts = {"num_outputs": count} if graph.opset >= 18 else {}
    op.set_result(graph.node("Split", [op.input()], count, axis=int(op.constant(1)), **parts))


def _split_in_sections(graph: Graph, op: Operation) -> None:
    sections = graph.constant(np.array(op.constant(1), np.int64))
    count = len(op.constant(1))
    op.set_result(graph.node("Split", [op.input(), sections], count, axis=int(op.constant(2))))


CONVERTERS: dict[str, Callable[[Graph, Operation], None]] = {
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
    "mean": _mean,
    "matmul": _matmul,
    "add": _one_to_one("Add", 2),
    "multiply": _one_to_one("Mul", 2),
    "relu": _one_to_one("Relu"),
    "relu6": _clip_at_6,
    "sigmoid": _one_to_one("Sigmoid"),
    "hardswish": _hard_swish,
    "swish": _swish,
    "hardsigmoid": _hard_sigmoid,
    "gelu": _gelu,
    "clip": _clip,
    "scale": _scale,
    "softmax": _softmax,
    "dropout": _dropout,
    "concat": _concat,
    "stack": _stack,
    "split_with_num": _split,
    "split_in_sections": _split_in_sections,
}
