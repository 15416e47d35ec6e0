"""Whether a network can be trained in bfloat16 on the CPU: all its operators need a fast native bfloat16 version.

PaddlePaddle's operators for the CPU can convert and transpose bfloat16, but not compute in it. If a single operator of
a network has no native bfloat16 version, the complete network is trained in float32. The operators are read from the
graph of a forward pass, not from the network's code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import paddle
from paddle import nn

from ppzoo import native
from ppzoo.native.operators import (
    BFLOAT16_OPERATORS,
    MIN_DEPTHWISE_CHANNELS,
    REPLACED_IN_BFLOAT16,
    autocast_bfloat16,
)
from ppzoo.paddle_internals import conv_options

# Nodes of the graph that compute nothing: transpose and flatten, and "GradNodeAccumulation", which are the parameters.
_SHAPE_OPERATORS = {"Transpose", "Flatten", "GradNodeAccumulation"}
# The native operators whose output is always float32: "average_pool" only for a global pooling.
_FLOAT32_OPERATORS = ("linear", "average_pool")
# PaddlePaddle's operators that can follow them.
_OPERATORS_IN_FLOAT32 = {"Dropout", "Hardswish", "Relu"}
# Minimum height and width of images with which MobileNetV1, MobileNetV2 and PPLCNet were measured to train faster in
# bfloat16 than in float32.
MIN_DEPTHWISE_SIZE = 64


def find_network_bfloat16_obstacle(network: nn.Layer, image_shape: Sequence[int]) -> str | None:
    """Return why `network` cannot be trained in bfloat16 on the CPU; None if it can.

    If its convolutions are fast enough, the network is called with two black images in training mode: in float32, and
    then in bfloat16 if the processor supports it. Parameters, statistics and mode are the same afterwards.

    Args:
        image_shape: C x H x W.
    """
    convolutions = [layer for layer in network.sublayers() if isinstance(layer, nn.Conv2D)]
    if not all(map(_is_fast, convolutions)):
        return f"grouped convolutions, and depthwise ones below {MIN_DEPTHWISE_CHANNELS} channels, are slow in bfloat16"
    images = paddle.zeros([2, *image_shape])
    outputs = _outputs_in_training(network, images)
    if any(output.grad_fn is None or _operator_name(output.grad_fn) != "linear" for output in outputs):
        return "its output is not that of a linear layer"
    missing = _names_in_graph(outputs) - BFLOAT16_OPERATORS - REPLACED_IN_BFLOAT16 - _SHAPE_OPERATORS
    if missing:
        return f"these operators have no bfloat16 version: {', '.join(sorted(missing))}"
    if any(map(_is_depthwise, convolutions)) and min(image_shape[1:]) < MIN_DEPTHWISE_SIZE:
        return f"depthwise convolutions are faster in float32 for images below {MIN_DEPTHWISE_SIZE} pixels"
    if native.find_native_bfloat16_obstacle() is None:
        try:
            with autocast_bfloat16():
                _outputs_in_training(network, images)
        except RuntimeError:  # PaddlePaddle's, such as for a ReLU after an average pooling that is not global
            return "one of its operators cannot compute in bfloat16"
    return None


def _is_fast(layer: nn.Conv2D) -> bool:
    """Return whether the convolution is dense, or depthwise with enough channels and without bias.

    Others are computed in float32, on converted copies of the images.
    """
    groups = conv_options(layer).groups
    return groups == 1 or (_is_depthwise(layer) and groups >= MIN_DEPTHWISE_CHANNELS and layer.bias is None)


def _is_depthwise(layer: nn.Conv2D) -> bool:
    options = conv_options(layer)
    return 1 < options.groups == options.in_channels == options.out_channels


def _outputs_in_training(network: nn.Layer, images: paddle.Tensor) -> list[paddle.Tensor]:
    """Return the outputs for `images` in training mode, with the graph that computed them."""
    images.stop_gradient = False  # so that the graph includes layers whose parameters are frozen
    was_training, generator = network.training, paddle.get_rng_state()
    statistics = [(tensor, tensor.clone()) for tensor in network.state_dict().values() if tensor.stop_gradient]
    network.train()
    try:
        output = network(images)
    finally:
        for tensor, before in statistics:
            tensor.set_value(before)
        paddle.set_rng_state(generator)
        if not was_training:
            network.eval()
    return [tensor for tensor in paddle.utils.flatten(output) if isinstance(tensor, paddle.Tensor)]


def _names_in_graph(outputs: Sequence[paddle.Tensor]) -> set[str]:
    """Return the names of the operators that computed `outputs`, without those that can follow a float32 operator."""
    names, linear, pools = {"linear"}, [output.grad_fn for output in outputs], []
    while linear:
        part = list(_walk([node for layer in linear for node in layer.next_functions], ends=_FLOAT32_OPERATORS))
        linear, new_pools = ([node for node in part if _operator_name(node) == name] for name in _FLOAT32_OPERATORS)
        names |= {_operator_name(node) for node in part} - (_OPERATORS_IN_FLOAT32 if linear or new_pools else set())
        pools += new_pools
    return names | {_operator_name(node) for node in _walk(pools)}


def _walk(nodes: Sequence[Any], ends: Sequence[str] = ()) -> Iterator[Any]:
    """Yield each of the nodes and of the nodes before them in the graph once, but none before an operator of `ends`."""
    waiting, seen = list(nodes), {}
    while waiting:
        node = waiting.pop()
        if node is not None and id(node) not in seen:
            seen[id(node)] = node  # keeps the object, so that its id is not used again
            if _operator_name(node) not in ends:
                waiting += node.next_functions
            yield node


def _operator_name(node: Any) -> str:
    """Return the name of a node's operator: "conv_norm" for a native one, "Dropout" for one of PaddlePaddle's."""
    name = str(node.name()).rpartition(" ")[2]
    return (
        name.removeprefix("ppzoo_").removesuffix("_grad")
        if name.startswith("ppzoo_")
        else name.removesuffix("GradNode")
    )
