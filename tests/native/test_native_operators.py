"""Outputs and gradients of each native operator against PaddlePaddle in float64: the maximum error is 2e-6."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppzoo import layers, native
from ppzoo.layers import native_layers
from ppzoo.layers.bfloat16 import _operator_name, _walk
from ppzoo.native import operators
from ppzoo.native.momentum import Momentum

pytestmark = pytest.mark.usefixtures("native_on")
TOLERANCE = 2e-6

# Images, input channels, output channels, size, kernel, stride, groups, dilation.
CONVOLUTIONS = [
    (2, 3, 16, 33, 3, 2, 1, 1),
    (2, 16, 32, 28, 1, 1, 1, 1),
    (2, 12, 24, 15, 1, 2, 1, 1),
    (2, 1, 1, 7, 3, 1, 1, 1),
    (1, 1, 8, 1, 1, 1, 1, 1),
    (2, 5, 7, 9, 3, 1, 1, 2),
    (2, 48, 48, 14, 3, 1, 48, 1),
    (2, 48, 48, 15, 3, 2, 48, 1),
    (2, 40, 40, 7, 5, 1, 40, 1),
    (2, 40, 40, 13, 5, 2, 40, 2),
    (4, 72, 72, 2, 3, 1, 72, 1),
    (4, 24, 24, 1, 3, 1, 24, 1),
    (2, 6, 6, 5, 5, 1, 6, 1),
    (2, 8, 16, 11, 3, 1, 8, 1),
    (2, 64, 64, 14, 3, 1, 4, 1),
    (2, 24, 24, 14, 5, 2, 3, 1),
    (2, 3, 64, 32, 7, 2, 1, 1),
    (2, 128, 64, 7, 3, 1, 1, 1),
    (2, 512, 512, 7, 3, 1, 1, 1),
    (2, 300, 520, 5, 3, 2, 1, 1),
    (2, 576, 96, 7, 1, 1, 1, 1),
    (3, 17, 17, 9, 3, 2, 17, 1),
    (2, 33, 33, 10, 3, 1, 33, 2),
    (1, 20, 20, 12, 7, 3, 20, 1),
    # Winograd: outputs of odd sizes, several slices of a sum, several blocks of rows of tiles.
    (3, 32, 48, 13, 3, 1, 1, 1),
    (1, 16, 16, 4, 3, 1, 1, 1),
    (2, 288, 32, 9, 3, 1, 1, 1),
    (8, 32, 64, 34, 3, 1, 1, 1),
]
ACTIVATIONS = {
    None: lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "swish": F.swish,
}
GATES = {
    "sigmoid": (operators.Gate("sigmoid"), F.sigmoid),
    "hardsigmoid": (operators.Gate("hardsigmoid", 0.2, 0.5), lambda t: F.hardsigmoid(t, 0.2, 0.5)),
    "clip": (operators.Gate("clip"), lambda t: paddle.clip(t, 0, 1)),
}
# Images, channels, height, width.
SHAPES = [(2, 1, 7, 7), (3, 16, 9, 5), (4, 58, 3, 3), (64, 100, 1, 1), (2, 7, 33, 31), (2, 720, 4, 4)]


def tensor(*shape: int) -> paddle.Tensor:
    made = paddle.randn(shape)
    made.stop_gradient = False
    return made


def outputs_and_gradients(function, operands: list[paddle.Tensor], weights: paddle.Tensor) -> list[paddle.Tensor]:
    """Return a function's output in float64, and the gradients of its product with `weights`."""
    output = function(*operands)
    gradients = paddle.grad([output], operands, [weights.astype(output.dtype)])
    return [value.astype("float64") for value in (output, *gradients)]


def agree(ours, theirs, operands: list[paddle.Tensor]) -> None:
    """Compare two functions of `operands`, and the gradients of a random combination of their outputs.

    Where terms cancel, as in the gradient of a single number, PaddlePaddle's own error in float32 can be larger than
    `TOLERANCE`; then it is the limit.
    """
    doubles = [operand.detach().astype("float64") for operand in operands]
    for double in doubles:
        double.stop_gradient = False
    weights = paddle.randn(theirs(*doubles).shape)
    found, expected = outputs_and_gradients(ours, operands, weights), outputs_and_gradients(theirs, doubles, weights)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.shape == other.shape
        limit = TOLERANCE * (float(other.abs().max()) or 1.0)
        error = float((one - other).abs().max())
        if error > limit:
            single = outputs_and_gradients(theirs, operands, weights)[number]
            limit = float((single - other).abs().max())
        assert error <= limit


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case, bias):
    images, channels, out_channels, size, kernel, stride, groups, dilation = case
    paddle.seed(1)
    padding = kernel // 2 * dilation
    options = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
    layer = native_layers.Conv2D(channels, out_channels, kernel, bias_attr=None if bias else False, **options)

    def ours(x, weight, *offsets):
        geometry = layer.geometry(x)
        return operators.convolve(x, weight, offsets[0] if offsets else None, geometry)

    def theirs(x, weight, *offsets):
        return F.conv2d(x, weight, offsets[0] if offsets else None, **options)

    operands = [tensor(images, channels, size, size), tensor(out_channels, channels // groups, kernel, kernel)]
    agree(ours, theirs, operands + ([tensor(out_channels)] if bias else []))


@pytest.mark.parametrize("padding", ["SAME", "VALID", (1, 2), [0, 1, 2, 3], 2])
def test_convolution_padding(padding):
    layer = native_layers.Conv2D(4, 6, 3, stride=2, padding=padding)
    agree(
        lambda x: layer(x),
        lambda x: F.conv2d(x, layer.weight.astype("float64"), layer.bias.astype("float64"), stride=2, padding=padding),
        [tensor(2, 4, 10, 13)],
    )


@pytest.mark.parametrize("padding", ["VALID", (1, 2), [0, 1, 2, 0], 2, 3])
def test_winograd_padding(padding):
    layer = native_layers.Conv2D(32, 16, 3, padding=padding)
    agree(
        lambda x: layer(x),
        lambda x: F.conv2d(x, layer.weight.astype("float64"), layer.bias.astype("float64"), padding=padding),
        [tensor(2, 32, 12, 15)],
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding"),
    [
        ((3, 5), (2, 3), (1, 1), [0, 1, 2, 2]),
        ((3, 3), (4, 4), (1, 1), [1, 1, 1, 1]),
        ((5, 2), (1, 2), (2, 1), [1, 0, 1, 0]),
        ((1, 3), (3, 2), (1, 2), [0, 0, 4, 0]),
    ],
)
def test_depthwise_convolution_with_strides_and_dilations(kernel, stride, dilation, padding):
    layer = native_layers.Conv2D(
        24, 24, kernel, stride=stride, dilation=dilation, padding=padding, groups=24, bias_attr=False
    )

    def theirs(x, weight):
        return F.conv2d(x, weight, stride=stride, dilation=dilation, padding=padding, groups=24)

    agree(
        lambda x, weight: operators.convolve(x, weight, None, layer.geometry(x)),
        theirs,
        [tensor(2, 24, 13, 17), tensor(*layer.weight.shape)],
    )


def batch_norm(x, scale, offset):
    """The definition of batch norm in training."""
    mean = x.mean([0, 2, 3], keepdim=True)
    variance = ((x - mean) ** 2).mean([0, 2, 3], keepdim=True)
    shape = [1, -1, 1, 1]
    return (x - mean) / paddle.sqrt(variance + 1e-5) * scale.reshape(shape) + offset.reshape(shape)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_with_activation(shape, activation):
    paddle.seed(2)
    running = paddle.zeros(shape[1:2]), paddle.ones(shape[1:2])

    def ours(x, scale, offset):
        tensors = scale, offset, *running
        return operators.batch_norm(x, tensors, momentum=0.9, epsilon=1e-5, activation=activation)

    agree(
        ours,
        lambda x, scale, offset: ACTIVATIONS[activation](batch_norm(x, scale, offset)),
        [tensor(*shape), tensor(shape[1]), tensor(shape[1])],
    )


@pytest.mark.parametrize("activation", sorted(operators.INVERTIBLE_ACTIVATIONS, key=str))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_with_residual(shape, activation):
    paddle.seed(3)
    running = paddle.zeros(shape[1:2]), paddle.ones(shape[1:2])

    def ours(x, residual, scale, offset):
        tensors = scale, offset, *running
        return operators.batch_norm(x, tensors, momentum=0.9, epsilon=1e-5, activation=activation, residual=residual)

    agree(
        ours,
        lambda x, residual, scale, offset: ACTIVATIONS[activation](batch_norm(x, scale, offset) + residual),
        [tensor(*shape), tensor(*shape), tensor(shape[1]), tensor(shape[1])],
    )


@pytest.mark.parametrize("residual", [False, True])
def test_conv_batch_norm_splits_large_batches(residual):
    paddle.seed(4)
    layer = native_layers.Conv2D(3, 64, 3, padding=1, bias_attr=False)
    running = paddle.zeros([64]), paddle.ones([64])

    def ours(x, weight, scale, offset, *others):
        stage = operators.ConvNormStage(weight, (scale, offset, *running), layer.geometry(x), 0.9, 1e-5, None)
        return operators.conv_batch_norm(x, stage, others[0] if others else None)

    def theirs(x, weight, scale, offset, *others):
        y = batch_norm(F.conv2d(x, weight, padding=1), scale, offset)
        return y + others[0] if others else y

    operands = [tensor(7, 3, 96, 96), tensor(64, 3, 3, 3), tensor(64), tensor(64)]
    agree(ours, theirs, operands + ([tensor(7, 64, 96, 96)] if residual else []))


# Images, channels, output channels, size, kernel, stride, groups: 1x1, depthwise, Winograd, oneDNN, a small tensor.
AFFINE = [
    (4, 24, 40, 30, 1, 1, 1),
    (4, 48, 48, 30, 5, 1, 48),
    (4, 32, 32, 28, 3, 1, 1),
    (7, 3, 64, 96, 3, 2, 1),
    (2, 5, 7, 6, 3, 1, 1),
]


@pytest.mark.parametrize("numbers", [(0.7, -0.3), (-1.5, 2.0), (0.0, 0.1)], ids=str)
@pytest.mark.parametrize("activation", sorted(operators.HOMOGENEOUS_ACTIVATIONS, key=str))
@pytest.mark.parametrize("case", AFFINE, ids=str)
def test_conv_batch_norm_affine(case, activation, numbers):
    paddle.seed(11)
    images, channels, out, size, kernel, stride, groups = case
    options = {"stride": stride, "padding": kernel // 2, "groups": groups}
    layer = native_layers.Conv2D(channels, out, kernel, bias_attr=False, **options)
    running = paddle.zeros([out]), paddle.ones([out])

    def ours(x, weight, scale, offset, multiplier, addend):
        stage = operators.ConvNormStage(weight, (scale, offset, *running), layer.geometry(x), 0.9, 1e-5, activation)
        return operators.conv_batch_norm_affine(x, stage, multiplier, addend)

    def theirs(x, weight, scale, offset, multiplier, addend):
        y = ACTIVATIONS[activation](batch_norm(F.conv2d(x, weight, **options), scale, offset))
        return multiplier * y + addend

    numbers = [paddle.to_tensor([number], stop_gradient=False) for number in numbers]
    operands = [tensor(images, channels, size, size), tensor(*layer.weight.shape), tensor(out), tensor(out), *numbers]
    agree(ours, theirs, operands)


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 1), (4, 33, 60, 60)], ids=str)
def test_affine(shape):
    paddle.seed(12)
    operands = [tensor(*shape), tensor(1), tensor(1)]
    agree(operators.affine, lambda x, multiplier, addend: multiplier * x + addend, operands)


@pytest.mark.parametrize("shape", [(5, 19, 5, 3), (4, 64, 7, 7)])
def test_sum_with_a_factor_per_image(shape):
    factors = paddle.to_tensor(([0.0, 1.25, 2.0, 0.0, 1.0])[: shape[0]])
    agree(
        lambda x, y: operators.add_scaled(x, y, factors),
        lambda x, y: x + y * factors.astype("float64").reshape([-1, 1, 1, 1]),
        [tensor(*shape), tensor(*shape)],
    )


def test_gradients_between_sums_with_a_factor_per_image_are_kept():
    """PaddlePaddle adds the gradients of the two uses of a tensor in place."""
    factors = paddle.to_tensor([0.0, 2.0, 1.0, 0.5])

    def gradients(add):
        paddle.seed(0)
        steps = [tensor(4, 16, 5, 3)]
        for _ in range(3):
            steps.append(add(steps[-1], 1.5 * steps[-1]))
        return [value.numpy() for value in paddle.grad([(steps[-1] ** 2).sum()], steps)]

    found = gradients(lambda x, y: operators.add_scaled(x, y, factors))
    expected = gradients(lambda x, y: x + y * factors.reshape([-1, 1, 1, 1]))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


# Images, height, width, channels (in, expanded, out), kernel, stride, activations of the three stages.
RESIDUALS = [
    (4, 14, 14, 16, 96, 16, 3, 1, ("relu6", "relu6", None)),
    (4, 15, 13, 16, 96, 24, 3, 2, ("relu6", "relu6", None)),
    (8, 7, 7, 24, 144, 24, 5, 1, ("relu", "hardswish", None)),
    (4, 8, 8, 24, 24, 24, 3, 1, ("relu", "relu6", "relu")),
    (9, 40, 28, 5, 30, 5, 3, 1, ("swish", "swish", None)),
    # Large enough that the expansion is recomputed.
    (11, 66, 63, 8, 48, 12, 3, 2, ("relu6", "relu6", None)),
    (4, 59, 61, 24, 150, 24, 5, 1, ("hardswish", "hardswish", None)),
]


@pytest.mark.parametrize("case", RESIDUALS, ids=str)
def test_inverted_residual(case):
    compare_inverted_residual(case)


@pytest.mark.parametrize("gate", ["sigmoid", "hardsigmoid"])
@pytest.mark.parametrize("case", [*RESIDUALS, (3, 5, 1, 40, 33, 8, 5, 2, ("relu", "relu", None))], ids=str)
def test_inverted_residual_with_squeeze_excite(case, gate):
    compare_inverted_residual(case, "swish" if gate == "sigmoid" else "relu", gate)


def compare_inverted_residual(case, activation=None, gate=None):
    paddle.seed(8)
    images, height, width, channels, between, out, kernel, stride, names = case
    shortcut, padding = channels == out and names[2] is None, kernel // 2
    middle = [stride, stride, *[padding] * 4, 1, 1, between]
    geometries = [1, 1, 0, 0, 0, 0, 1, 1, 1], middle, [1, 1, 0, 0, 0, 0, 1, 1, 1]
    widths = between, between, out

    def ours(x, *tensors):
        running = [(paddle.zeros([width]), paddle.ones([width])) for width in widths]
        stages = [
            operators.ConvNormStage(
                tensors[i], (tensors[i + 3], tensors[i + 6], *running[i]), geometries[i], 0.9, 1e-5, names[i]
            )
            for i in range(3)
        ]
        assert operators.is_inverted_residual(stages, shortcut)
        if gate is None:
            return operators.inverted_residuals(x, [stages], [shortcut])
        gates = operators.SqueezeExcite(tensors[9:11], tensors[11:13], activation, GATES[gate][0])
        return operators.inverted_residual_se(x, stages, shortcut, gates)

    def theirs(x, *tensors):
        y = x
        for i, (strides, paddings, groups) in enumerate([(1, 0, 1), (stride, padding, between), (1, 0, 1)]):
            y = batch_norm(
                F.conv2d(y, tensors[i], None, strides, paddings, groups=groups), tensors[i + 3], tensors[i + 6]
            )
            y = y + x if i == 2 and shortcut else y
            y = ACTIVATIONS[names[i]](y)
            if i == 1 and gate is not None:
                inner = ACTIVATIONS[activation](F.conv2d(F.adaptive_avg_pool2d(y, 1), *tensors[9:11]))
                y = y * GATES[gate][1](F.conv2d(inner, *tensors[11:13]))
        return y

    shapes = [(between, channels, 1, 1), (between, 1, kernel, kernel), (out, between, 1, 1)]
    weights = [tensor(*shape) for shape in shapes]
    # Scales and offsets are not close to zero, where gradients are small differences of large sums.
    norms = [paddle.rand([width]) + 0.5 for width in widths * 2]
    for norm in norms:
        norm.stop_gradient = False
    squeezed = between // 4
    sizes = [] if gate is None else [(squeezed, between, 1, 1), (squeezed,), (between, squeezed, 1, 1), (between,)]
    gates = [paddle.randn(size) / math.sqrt(size[1]) if len(size) > 1 else paddle.randn(size) for size in sizes]
    for gate_weight in gates:
        gate_weight.stop_gradient = False
    agree(ours, theirs, [tensor(images, channels, height, width), *weights, *norms, *gates])


# Images, height, width, input channels; of each stage: output channels, kernel (height, width), strides, groups (0: a
# depthwise convolution), activation.
SEQUENCES = [
    (4, 14, 14, 16, [(16, (3, 3), (1, 1), 0, "hardswish"), (32, (1, 1), (1, 1), 1, "hardswish")]),
    (4, 15, 13, 24, [(24, (3, 3), (2, 2), 0, "relu"), (40, (1, 1), (1, 1), 1, "relu")]),
    (
        *(4, 17, 13, 3),
        [
            (16, (3, 3), (2, 2), 1, "hardswish"),
            (16, (5, 3), (1, 2), 0, "relu6"),
            (40, (1, 1), (1, 1), 1, None),
            (40, (5, 5), (2, 1), 0, None),
            (24, (1, 1), (1, 1), 1, "swish"),
            (48, (1, 1), (1, 1), 1, "relu"),
        ],
    ),
    (3, 9, 7, 12, [(18, (3, 3), (1, 1), 3, "relu")]),
    (3, 9, 7, 16, [(16, (3, 3), (1, 1), 0, None), (32, (1, 1), (1, 1), 1, "relu"), (16, (1, 1), (1, 1), 1, None)]),
    (2, 60, 50, 20, [(20, (5, 5), (1, 1), 0, "swish"), (20, (3, 3), (2, 2), 0, "hardswish")]),
]


@pytest.mark.parametrize("case", SEQUENCES, ids=str)
def test_conv_norm_sequence(case):
    paddle.seed(9)
    images, height, width, channels, stages = case
    shapes, geometries, inputs = [], [], channels
    for out, kernel, strides, groups, _ in stages:
        groups = groups or inputs
        padding = [size // 2 for size in kernel]
        shapes.append((out, inputs // groups, *kernel))
        geometries.append([*strides, padding[0], padding[0], padding[1], padding[1], 1, 1, groups])
        inputs = out
    count, names = len(stages), [stage[-1] for stage in stages]

    def ours(x, *tensors):
        parameters = zip(tensors, tensors[count:], tensors[2 * count :], geometries, names, strict=False)
        sequence = [
            operators.ConvNormStage(
                weight, (gamma, beta, paddle.zeros(gamma.shape), paddle.ones(gamma.shape)), geometry, 0.9, 1e-5, name
            )
            for weight, gamma, beta, geometry, name in parameters
        ]
        assert operators.is_conv_norm_sequence(sequence)
        return operators.conv_batch_norm_sequence(x, sequence)

    def theirs(x, *tensors):
        y = x
        for i, (geometry, name) in enumerate(zip(geometries, names, strict=True)):
            y = F.conv2d(y, tensors[i], None, geometry[:2], geometry[2:6], groups=geometry[8])
            y = ACTIVATIONS[name](batch_norm(y, tensors[count + i], tensors[2 * count + i]))
        return y

    norms = [paddle.rand([stage[0]]) + 0.5 for stage in stages * 2]
    for norm in norms:
        norm.stop_gradient = False
    agree(ours, theirs, [tensor(images, channels, height, width), *(tensor(*shape) for shape in shapes), *norms])


# Images, height, width, channels in and out, stride, whether the sum contains the identity.
BRANCHES = [
    (4, 8, 8, 16, 16, 1, True),
    (4, 8, 8, 16, 16, 1, False),
    (3, 9, 7, 12, 12, 1, True),
    (3, 9, 7, 5, 20, 1, False),
    (4, 17, 15, 3, 48, 2, False),
    (2, 14, 14, 48, 32, 2, False),
    # Several blocks of images.
    (11, 64, 60, 64, 64, 1, True),
    (9, 120, 128, 3, 64, 2, False),
]


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("case", BRANCHES, ids=str)
def test_repvgg_block(case, need_dx):
    paddle.seed(9)
    images, height, width, channels, out, stride, has_identity = case
    norms = 3 if has_identity else 2
    image = tensor(images, channels, height, width)

    def split(tensors):
        x, tensors = (tensors[0], tensors[1:]) if need_dx else (image.detach(), tensors)
        return x.astype(tensors[0].dtype), tensors[:2], tensors[2 : 2 + norms], tensors[2 + norms :]

    def ours(*tensors):
        x, weights, scales, offsets = split(tensors)
        running = [(paddle.zeros([out]), paddle.ones([out])) for _ in range(norms)]
        options = [(*parts, *statistics) for *parts, statistics in zip(scales, offsets, running, strict=True)]
        geometries = [stride, stride, 1, 1, 1, 1, 1, 1, 1], [stride, stride, 0, 0, 0, 0, 1, 1, 1]
        dense, pointwise = (
            operators.ConvNormStage(weights[i], options[i], geometries[i], 0.9, 1e-5, None) for i in range(2)
        )
        assert operators.is_repvgg_block(dense, pointwise)
        identity = operators.NormStage(options[2], 0.9, 1e-5) if has_identity else None
        return operators.repvgg_block(x, dense, pointwise, identity)

    def theirs(*tensors):
        x, weights, scales, offsets = split(tensors)
        branches = [F.conv2d(x, weights[0], None, stride, 1), F.conv2d(x, weights[1], None, stride), x][:norms]
        return F.relu(sum(map(batch_norm, branches, scales, offsets)))

    parameters = [paddle.rand([out]) + 0.5 for _ in range(2 * norms)]
    for parameter in parameters:
        parameter.stop_gradient = False
    weights = [tensor(out, channels, 3, 3), tensor(out, channels, 1, 1)]
    agree(ours, theirs, [*([image] if need_dx else []), *weights, *parameters])


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_running_statistics_match_paddlepaddle(momentum):
    paddle.seed(5)
    ours, theirs = native_layers.BatchNorm(13, momentum=momentum), paddle.nn.BatchNorm(13, momentum=momentum)
    for _ in range(3):
        x = paddle.randn([4, 13, 5, 6]) * 3 + 2
        ours(x)
        theirs(x)
    np.testing.assert_allclose(ours._mean.numpy(), theirs._mean.numpy(), rtol=2e-6)
    np.testing.assert_allclose(ours._variance.numpy(), theirs._variance.numpy(), rtol=2e-6)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2), (3, 2, 0)])
@pytest.mark.parametrize("size", [7, 14])
def test_pooling(size, kernel, stride, padding, ceil_mode):
    paddle.seed(6)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    x = [tensor(2, 5, size, size + 1)]
    agree(native_layers.MaxPool2D(kernel, **options), paddle.nn.MaxPool2D(kernel, **options), x)
    for exclusive in (True, False):
        options["exclusive"] = exclusive
        agree(native_layers.AvgPool2D(kernel, **options), paddle.nn.AvgPool2D(kernel, **options), x)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("channels", [5, 16, 40])
def test_pooling_that_keeps_the_size(channels, kernel, stride):
    options = {"stride": stride, "padding": "SAME"}
    x = [tensor(2, channels, 9, 6)]
    agree(
        native_layers.MaxPool2D(kernel, ceil_mode=True, **options),
        paddle.nn.MaxPool2D(kernel, ceil_mode=True, **options),
        x,
    )
    agree(native_layers.AvgPool2D(kernel, **options), paddle.nn.AvgPool2D(kernel, **options), x)


def channels_last(*shape: int) -> paddle.Tensor:
    """A leaf of shape N x C x H x W with channels-last memory."""
    made = paddle.randn([shape[0], *shape[2:], shape[1]]).transpose([0, 3, 1, 2]).detach()
    made.stop_gradient = False
    return made


def test_gradients_of_a_tensor_with_several_readers():
    """They are added in channels-last memory, also in repeated passes and if the tensor changes in between."""
    x = channels_last(2, 8, 5, 6)

    def branches(x):
        y = operators.activate(x, "relu")
        return operators.concat([operators.add(x, y), x, y])

    for _ in range(3):
        doubles = x.detach().astype("float64")
        doubles.stop_gradient = False
        expected = paddle.concat([doubles + F.relu(doubles), doubles, F.relu(doubles)], 1)
        weights = paddle.randn(expected.shape)
        (slope,) = paddle.grad([expected], [doubles], [weights.astype("float64")])
        (found,) = paddle.grad([branches(x)], [x], [weights])
        np.testing.assert_allclose(found.numpy(), slope.numpy(), rtol=1e-5, atol=1e-5)
        branches(x).backward(weights)
        np.testing.assert_allclose(x.grad.numpy(), slope.numpy(), rtol=1e-5, atol=1e-5)
        x.clear_grad()
        with paddle.no_grad():
            x.scale_(-1.5)


def test_readers_of_a_tensor_see_whether_it_needs_a_gradient():
    x = channels_last(2, 8, 5, 6)
    with paddle.no_grad():
        operators.activate(x, "relu")
    assert not operators.activate(x, "relu").stop_gradient
    x.stop_gradient = True
    assert operators.activate(x, "relu").stop_gradient


@pytest.mark.parametrize("output", [1, 3, (2, 5), 7])
def test_adaptive_average_pooling(output):
    agree(native_layers.AdaptiveAvgPool2D(output), paddle.nn.AdaptiveAvgPool2D(output), [tensor(3, 20, 7, 112)])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_and_add(activation):
    act = ACTIVATIONS[activation]
    agree(lambda x: operators.activate(x, activation), act, [tensor(2, 5, 7, 3)])
    agree(
        lambda x, y: operators.add(x, y, activation), lambda x, y: act(x + y), [tensor(2, 5, 7, 3), tensor(2, 5, 7, 3)]
    )


def test_scale_channels():
    agree(native_layers.scale_channels, lambda x, gate: x * gate, [tensor(3, 20, 15, 15), tensor(3, 20, 1, 1)])


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_squeeze_excite(activation, gate):
    ours, theirs = GATES[gate]
    act = ACTIVATIONS[activation]
    paddle.seed(1)

    def by_convolutions(x, squeeze, squeeze_bias, excite, excite_bias):
        hidden = act(F.conv2d(F.adaptive_avg_pool2d(x, 1), squeeze, squeeze_bias))
        return x * theirs(F.conv2d(hidden, excite, excite_bias))

    def by_linear_layers(x, squeeze, squeeze_bias, excite, excite_bias):
        hidden = act(F.linear(x.mean([2, 3]), squeeze, squeeze_bias))
        return x * theirs(F.linear(hidden, excite, excite_bias)).unsqueeze([2, 3])

    def natively(x, *parameters):
        return operators.squeeze_excite(x, operators.SqueezeExcite(parameters[:2], parameters[2:], activation, ours))

    for channels, hidden, height, width in [(24, 6, 7, 7), (33, 5, 3, 9), (20, 8, 1, 1)]:
        x, biases = tensor(3, channels, height, width), (tensor(hidden), tensor(channels))
        convolutions = tensor(hidden, channels, 1, 1), tensor(channels, hidden, 1, 1)
        agree(natively, by_convolutions, [x, convolutions[0], biases[0], convolutions[1], biases[1]])
        dense = tensor(channels, hidden), tensor(hidden, channels)
        agree(natively, by_linear_layers, [x, dense[0], biases[0], dense[1], biases[1]])


@pytest.mark.parametrize(
    "build",
    [
        lambda: layers.SELayer(24),
        lambda: layers.SELayer(24, gate=layers.clip_gate),
        lambda: layers.ConvSqueezeExcite(24, 6, act=nn.Swish(), gate=nn.Sigmoid()),
        lambda: layers.ConvSqueezeExcite(24, 6, act=nn.ReLU(), gate=nn.Hardsigmoid()),
        lambda: layers.ConvSqueezeExcite(24, 6, act=nn.ReLU(), gate=layers.HardSigmoid(0.2, 0.5)),
    ],
)
def test_squeeze_excite_is_one_operator_and_equal_without_it(build):
    paddle.seed(1)
    layer, x = build(), tensor(3, 24, 9, 7)
    found = {}
    for mode in ("on", "off"):
        native.set_mode(mode)
        x.clear_grad()
        y = layer(x)
        y.sum().backward()
        gradients = x.grad, *(parameter.grad for parameter in layer.parameters())
        found[mode] = [np.array(value) for value in (y, *gradients)]
        layer.clear_gradients()
        if mode == "on":
            names = {_operator_name(node) for node in _walk([y.grad_fn])}
            assert "squeeze_excite" in names and "average_pool" not in names
    for one, other in zip(found["on"], found["off"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_hooks_and_changed_layers_are_called():
    layer, x = layers.ConvSqueezeExcite(24, 6, act=nn.ReLU(), gate=nn.Sigmoid()), tensor(3, 24, 9, 7)
    calls = []
    hook = layer.conv1.register_forward_post_hook(lambda *arguments: calls.append(arguments))
    layer(x)
    assert len(calls) == 1
    hook.remove()
    layer.pool = layers.AdaptiveAvgPool2D((9, 7))  # a gate for each pixel
    _assert_equal_without_native_operators(layer, x)
    layer.pool, layer.conv1.bias = layers.AdaptiveAvgPool2D(1), None
    _assert_equal_without_native_operators(layer, x)


def _assert_equal_without_native_operators(layer, x):
    found = layer(x)
    native.set_mode("off")
    np.testing.assert_allclose(found.numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)
    native.set_mode("on")


def test_linear():
    agree(operators.linear, F.linear, [tensor(33, 129), tensor(129, 10), tensor(10)])


def test_concat_channel_shuffle_and_split():
    parts = [tensor(2, 6, 5, 3), tensor(2, 6, 5, 3)]
    native.set_mode("off")
    expected = [native_layers.concat(parts), native_layers.shuffled_concat(parts), *native_layers.halve(parts[0])]
    native.set_mode("on")
    found = [native_layers.concat(parts), native_layers.shuffled_concat(parts), *native_layers.halve(parts[0])]
    for one, other in zip(found, expected, strict=True):
        weights = paddle.randn(one.shape)
        assert np.array_equal(one.numpy(), other.numpy())
        for ours, theirs in zip(
            paddle.grad([one], parts, [weights], allow_unused=True),
            paddle.grad([other], parts, [weights], allow_unused=True),
            strict=True,
        ):
            assert (ours is None) == (theirs is None)
            assert ours is None or np.array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_is_propagated(activation):
    x = paddle.full([2, 3, 4, 4], float("nan"))
    assert np.isnan(operators.activate(x, activation).numpy()).all()
    assert np.isnan(operators.max_pool(x, [2, 2, 2, 2, 0, 0, 0, 0, 0]).numpy()).all()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [None, 1e-2])
def test_momentum_is_bit_identical_to_paddlepaddle(decay, nesterov):
    """With a parameter with a smaller learning rate and one without weight decay."""
    states = []
    for kind in (paddle.optimizer.Momentum, Momentum):
        paddle.seed(9)
        with paddle.utils.unique_name.guard():
            layer = paddle.nn.Sequential(paddle.nn.Linear(33, 70), paddle.nn.Linear(70, 5))
        layer[0].weight.optimize_attr["learning_rate"] = 0.3
        layer[1].bias.regularizer = paddle.regularizer.L2Decay(0.0)
        rate = paddle.optimizer.lr.StepDecay(0.1, 2)
        optimizer = kind(rate, 0.9, layer.parameters(), use_nesterov=nesterov, weight_decay=decay)
        for _ in range(5):
            layer(paddle.randn([8, 33])).square().mean().backward()
            with paddle.utils.unique_name.guard():
                optimizer.step()
            optimizer.clear_grad()
            rate.step()
        state = {**layer.state_dict(), **optimizer.state_dict()}
        states.append({key: value.numpy() for key, value in state.items() if isinstance(value, paddle.Tensor)})
    assert states[0].keys() == states[1].keys()
    assert len(states[0]) == 8
    for key, value in states[0].items():
        assert np.array_equal(value, states[1][key])


def unfreeze(layer: paddle.nn.Layer) -> None:
    layer[0].weight.stop_gradient = False


def penalize(layer: paddle.nn.Layer) -> None:
    layer[1].weight.regularizer = paddle.regularizer.L1Decay(0.1)


@pytest.mark.parametrize("change", [unfreeze, penalize])
def test_momentum_is_bit_identical_when_parameters_change_during_training(change):
    """With gradient clipping, which must be applied once per step."""
    ended = []
    for kind in (paddle.optimizer.Momentum, Momentum):
        paddle.seed(10)
        layer = paddle.nn.Sequential(paddle.nn.Linear(33, 70), paddle.nn.Linear(70, 5))
        layer[0].weight.stop_gradient = True
        clip = paddle.nn.ClipGradByGlobalNorm(0.05)
        optimizer = kind(0.1, 0.9, layer.parameters(), weight_decay=1e-2, grad_clip=clip)
        for step in range(8):
            if step == 3:
                change(layer)
            layer(paddle.randn([8, 33])).square().mean().backward()
            optimizer.step()
            optimizer.clear_grad()
        ended.append([parameter.numpy() for parameter in layer.parameters()])
    for ours, theirs in zip(*ended, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_update_ema_is_bit_identical_to_paddlepaddle():
    paddle.seed(9)
    averages = [paddle.randn(shape) for shape in ([3], [70, 500], [1, 2, 3])]
    values = [paddle.randn(average.shape) for average in averages]
    expected = [average * 0.99 + value * (1 - 0.99) for average, value in zip(averages, values, strict=True)]
    operators.update_ema(averages, values, decay=0.99, weight=1 - 0.99)
    for found, expected_average in zip(averages, expected, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected_average.numpy())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 34999])
def test_all_finite_detects_one_value_among_many(value, place):
    tensors = [paddle.full([3], 3e38), paddle.full([35000], -3e38), paddle.zeros([5])]
    assert operators.all_finite(tensors)
    tensors[1][place] = value
    assert not operators.all_finite(tensors)


def test_graphs_on_one_leaf_are_independent():
    """A backward pass discards the graph of its operators, but not that of others on the same leaf."""
    x, weights = channels_last(2, 8, 5, 5), paddle.randn([2, 8, 5, 5])
    first, second = operators.activate(x, "relu"), operators.activate(x, "hardswish")
    (first * weights).sum().backward()
    (second * weights).sum().backward()
    expected = paddle.grad([F.relu(x), F.hardswish(x)], [x], [weights, weights])[0]
    np.testing.assert_allclose(x.grad.numpy(), expected.numpy(), rtol=0, atol=1e-6)
