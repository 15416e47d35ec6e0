"""Correct the biases of an ONNX model for the rounding of its quantized weights.

Rounding the weights of a layer changes the mean of each output channel by the sum of the weights' rounding errors times
the means of the input channels. Subtracting that change from the bias removes it (Nagel et al., arXiv:1906.04721,
section 4.2). The zeros of a convolution's padding are not considered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppzoo.deploy.onnx_graph import INPUT


def mean_changes(model: Any, quantized: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return how the rounding of the weights changes the mean of each output channel, for each Conv and Gemm layer.

    Args:
        model: an onnx.ModelProto in float32.
        quantized: the same model with quantized weights, whose layers have the same names.
        images: the images on which the means of the input channels are computed.

    Returns:
        A layer's name -> one value for each output channel, float32.
    """
    weights, rounded = _constants(model), _rounded_weights(quantized)
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm") and node.name in rounded]
    means = _channel_means(model, sorted({layer.input[0] for layer in layers}), images)
    return {
        layer.name: _mean_change(layer, rounded[layer.name] - weights[layer.input[1]], means[layer.input[0]])
        for layer in layers
    }


def subtract_from_biases(model: Any, changes: Mapping[str, np.ndarray]) -> Any:
    """Return a copy of a model from whose biases `changes` are subtracted; a layer without a bias gets one.

    Args:
        model: an onnx.ModelProto.
        changes: a layer's name -> what is subtracted for each output channel.
    """
    from onnx import ModelProto, numpy_helper

    corrected = ModelProto()
    corrected.CopyFrom(model)
    constants = _constants(model)
    for layer in corrected.graph.node:
        if layer.name not in changes:
            continue
        bias = constants[layer.input[2]] if len(layer.input) > 2 else 0
        name = f"{layer.name}_corrected_bias"
        corrected.graph.initializer.append(
            numpy_helper.from_array((bias - changes[layer.name]).astype("float32"), name)
        )
        del layer.input[2:]
        layer.input.append(name)
    _remove_unused_constants(corrected)
    return corrected


def _remove_unused_constants(model: Any) -> None:
    """Remove the constants that no node reads: ONNX Runtime prints a warning about each of them."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def layer_attributes(layer: Any) -> dict[str, Any]:
    """Return the attributes of an onnx.NodeProto by name."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in layer.attribute}


def _constants(model: Any) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _rounded_weights(quantized: bytes) -> dict[str, np.ndarray]:
    """Return the weights that each layer of a quantized model computes with, as float32."""
    import onnx

    model = onnx.load_from_string(quantized)
    constants, rounded = _constants(model), {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            values, scale, zero_point = (constants[name] for name in node.input)
            if scale.ndim:  # one scale per channel
                axis = layer_attributes(node).get("axis", 1)
                shape = [-1 if number == axis else 1 for number in range(values.ndim)]
                scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
            rounded[node.output[0]] = (values.astype("float32") - zero_point) * scale
    layers = (node for node in model.graph.node if len(node.input) > 1 and node.input[1] in rounded)
    return {layer.name: rounded[layer.input[1]] for layer in layers}


def _channel_means(model: Any, tensors: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean of each channel of some tensors, N x C x H x W or N x C, over all images."""
    import onnx
    import onnxruntime

    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    for name in tensors:
        if name != INPUT:
            observed.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    computed = [name for name in tensors if name != INPUT]
    sums: dict[str, Any] = dict.fromkeys(tensors, 0.0)
    for number in range(len(images)):
        image = images[number : number + 1]
        results = session.run(computed, {INPUT: image}) if computed else []  # [] stands for all outputs
        values = {INPUT: image, **dict(zip(computed, results, strict=True))}
        for name in tensors:
            sums[name] = sums[name] + values[name].mean(axis=(0, *range(2, values[name].ndim)), dtype="float64")
    return {name: total / len(images) for name, total in sums.items()}


def _mean_change(layer: Any, error: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the sum over the input channels of the weights' errors times the channels' means."""
    attributes = layer_attributes(layer)
    if layer.op_type == "Gemm":
        change = (error if attributes.get("transB", 0) else error.T) @ means
    else:
        groups = attributes.get("group", 1)
        by_group = error.sum(axis=(2, 3)).reshape(groups, -1, error.shape[1])
        change = np.einsum("goi,gi->go", by_group, means.reshape(groups, -1)).ravel()
    return change.astype("float32")
