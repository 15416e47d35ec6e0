"""The bfloat16 operators against PaddlePaddle in float64 on the same bfloat16 inputs.

An output in bfloat16 may differ by its own rounding, 2^-8 of its value, and by the rounding errors of float32 sums. An
output in float32 (statistics, gradients of parameters, the linear layer) may differ by the latter only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import pytest
from paddle import Tensor
from paddle.nn import functional as F

import ppzoo
from ppzoo import layers, native
from ppzoo.host import instruction_sets
from ppzoo.layers import native_layers
from ppzoo.native import operators
from ppzoo.paddle_internals import run_custom_op

pytestmark = [
    pytest.mark.usefixtures("native_on"),
    pytest.mark.skipif("avx512_bf16" not in instruction_sets().split(), reason="needs AVX-512 BF16"),
]
ROUNDING = 2.0**-8
FLOAT32_SUMS = 1e-5  # of the largest expected value

# Images, input channels, output channels, size, kernel, stride, groups, dilation.
CONVOLUTIONS = [
    (2, 3, 64, 32, 7, 2, 1, 1),
    (2, 3, 16, 33, 3, 2, 1, 1),
    (2, 16, 32, 28, 1, 1, 1, 1),
    (2, 12, 24, 15, 1, 2, 1, 1),
    (2, 64, 128, 14, 1, 2, 1, 1),
    (2, 1, 1, 7, 3, 1, 1, 1),
    (1, 1, 8, 1, 1, 1, 1, 1),
    (2, 5, 7, 9, 3, 1, 1, 2),
    (2, 64, 64, 14, 3, 1, 1, 1),
    (2, 64, 128, 15, 3, 2, 1, 1),
    (2, 512, 512, 7, 3, 1, 1, 1),
    (2, 300, 520, 5, 3, 2, 1, 1),
    (4, 24, 24, 1, 3, 1, 1, 1),
    (2, 24, 24, 14, 5, 2, 3, 1),
    (2, 8, 8, 10, 3, 1, 8, 1),
    (2, 33, 33, 10, 3, 1, 33, 1),
    (3, 16, 16, 15, 3, 2, 16, 1),
    (2, 40, 40, 14, 5, 1, 40, 1),
    (2, 24, 24, 13, 5, 2, 24, 1),
    (2, 24, 24, 9, 3, 1, 24, 2),
    (2, 72, 72, 1, 3, 1, 72, 1),
    (9, 48, 48, 33, 3, 1, 48, 1),
]
ACTIVATIONS = {None: lambda x: x, "relu": F.relu, "relu6": F.relu6, "hardswish": F.hardswish, "swish": F.swish}
# Images, channels, height, width. The last one is summed in float32 windows.
SHAPES = [(2, 1, 7, 7), (3, 16, 9, 5), (4, 58, 3, 3), (64, 100, 1, 1), (2, 720, 4, 4), (4, 64, 33, 31)]


def half(*shape: int) -> Tensor:
    """Return random bfloat16 values of which gradients are computed."""
    made = paddle.randn(shape).astype("bfloat16")
    made.stop_gradient = False
    return made


def single(*shape: int) -> Tensor:
    made = paddle.randn(shape)
    made.stop_gradient = False
    return made


def as_double(value: Tensor) -> np.ndarray:
    return value.astype("float32").numpy().astype("float64")


def check(found: Tensor, expected: Tensor) -> None:
    limit = FLOAT32_SUMS * (float(expected.abs().max()) or 1.0)
    if found.dtype == paddle.bfloat16:
        limit = limit + ROUNDING * np.abs(expected.numpy())
    assert (np.abs(as_double(found) - expected.numpy()) <= limit).all()


def agree(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], operands: list[Tensor]) -> None:
    """Compare two functions of `operands`, and the gradients of a random combination of their outputs."""
    doubles = [paddle.to_tensor(as_double(operand.detach()), stop_gradient=False) for operand in operands]
    with operators.autocast_bfloat16():
        found = ours(*operands)
    expected = theirs(*doubles)
    assert found.shape == expected.shape
    weights = paddle.randn(expected.shape).astype(found.dtype)
    gradients = paddle.grad([found], operands, [weights])
    exact = paddle.grad([expected], doubles, [paddle.to_tensor(as_double(weights))])
    check(found, expected)
    for operand, one, other in zip(operands, gradients, exact, strict=True):
        assert one.dtype == operand.dtype
        check(one, other)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case):
    images, channels, out_channels, size, kernel, stride, groups, dilation = case
    paddle.seed(1)
    options = {"stride": stride, "padding": kernel // 2 * dilation, "groups": groups, "dilation": dilation}
    layer = native_layers.Conv2D(channels, out_channels, kernel, bias_attr=False, **options)
    weight = half(out_channels, channels // groups, kernel, kernel).astype("float32").detach()  # exact in bfloat16
    weight.stop_gradient = False
    agree(
        lambda x, weight: operators.convolve(x, weight, None, layer.geometry(x)),
        lambda x, weight: F.conv2d(x, weight, **options),
        [half(images, channels, size, size), weight],
    )


@pytest.mark.parametrize("activation", sorted(operators.INVERTIBLE_ACTIVATIONS, key=str))
@pytest.mark.parametrize("case", [(2, 3, 64, 33, 3, 2), (2, 16, 32, 14, 1, 1), (300, 24, 40, 9, 3, 1)], ids=str)
def test_convolution_with_bias_and_activation(case, activation):
    """The largest case is computed for some images at a time."""
    images, channels, out_channels, size, kernel, stride = case
    paddle.seed(3)
    options = {"stride": stride, "padding": kernel // 2}
    layer = native_layers.Conv2D(channels, out_channels, kernel, **options)
    weight = half(out_channels, channels, kernel, kernel).astype("float32").detach()  # exact in bfloat16
    weight.stop_gradient = False
    x, bias = half(images, channels, size, size), single(out_channels)
    with operators.autocast_bfloat16():
        y = operators.convolve(x, weight, bias, layer.geometry(x), activation)
        weights = paddle.randn(y.shape).astype("bfloat16")
        gradients = paddle.grad([y], [x, weight, bias], [weights])
    doubles = [paddle.to_tensor(as_double(value.detach()), stop_gradient=False) for value in (x, weight, bias)]
    expected = ACTIVATIONS[activation](F.conv2d(*doubles, **options))
    check(y, expected)
    # The derivative of the activation follows from the rounded output.
    is_active = paddle.to_tensor(
        as_double(derivative_from(y.astype("float32"), activation) * weights.astype("float32"))
    )
    exact = paddle.grad([F.conv2d(*doubles, **options)], doubles, [is_active])
    for one, other in zip(gradients, exact, strict=True):
        check(one, other)


def derivative_from(y: Tensor, activation: str | None) -> Tensor:
    """Return the derivative of an activation from its output `y`."""
    if activation is None:
        return paddle.ones_like(y)
    return ((y > 0) & (y < (6 if activation == "relu6" else float("inf")))).astype(y.dtype)


def rounded_to_nearest(values: np.ndarray) -> np.ndarray:
    """Return finite float32 values rounded to bfloat16; the conversion of PaddlePaddle 2.6 truncates."""
    words = values.view(np.uint32).astype(np.uint64)
    return (((words + 0x7FFF + ((words >> 16) & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)


def test_weights_are_rounded_to_nearest():
    paddle.seed(2)
    x, weight = half(2, 16, 8, 8), paddle.randn([32, 16, 3, 3])
    geometry = [1, 1, 1, 1, 1, 1, 1, 1, 1]
    with operators.autocast_bfloat16():
        found = operators.convolve(x, weight, None, geometry)
        expected = operators.convolve(x, paddle.to_tensor(rounded_to_nearest(weight.numpy())), None, geometry)
    assert np.array_equal(as_double(found), as_double(expected))


def batch_norm(x, scale, offset):
    axes = [0, 2, 3]
    centered = x - x.mean(axes, keepdim=True)
    variance = (centered * centered).mean(axes, keepdim=True)
    return centered / (variance + 1e-5).sqrt() * scale.reshape([1, -1, 1, 1]) + offset.reshape([1, -1, 1, 1])


def norm_of(activation: str | None, running: list[Tensor] | None = None) -> Callable[..., Tensor]:
    def ours(x, scale, offset, residual=None):
        mean, variance = running or (paddle.zeros(scale.shape), paddle.ones(scale.shape))
        norm = scale, offset, mean, variance
        return operators.batch_norm(x, norm, momentum=0.9, epsilon=1e-5, activation=activation, residual=residual)

    return ours


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_with_activation(shape, activation):
    paddle.seed(3)
    act = ACTIVATIONS[activation]
    operands = [half(*shape), single(shape[1]), single(shape[1])]
    agree(norm_of(activation), lambda *inputs: act(batch_norm(*inputs)), operands)


def round_to_6(x: Tensor) -> Tensor:
    """Return ReLU6(x), constant where its result is 6 in bfloat16, whose neighbors are 2^-5 apart there."""
    return paddle.where(x < 6 - 2**-6, F.relu(x), 6.0)


@pytest.mark.parametrize("activation", sorted(operators.INVERTIBLE_ACTIVATIONS, key=str))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_with_residual(shape, activation):
    """The gradient of ReLU6 is that of the rounded output: it is zero where the output was rounded to 6."""
    paddle.seed(4)
    act = round_to_6 if activation == "relu6" else ACTIVATIONS[activation]
    operands = [half(*shape), single(shape[1]), single(shape[1]), half(*shape)]
    agree(norm_of(activation), lambda x, scale, offset, z: act(batch_norm(x, scale, offset) + z), operands)


def test_running_statistics_are_float32():
    paddle.seed(5)
    x, running = half(8, 64, 16, 16), [paddle.zeros([64]), paddle.ones([64])]
    with operators.autocast_bfloat16():
        norm_of("relu", running)(x, paddle.ones([64]), paddle.zeros([64]))
    exact = as_double(x)
    np.testing.assert_allclose(running[0].numpy(), 0.1 * exact.mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(running[1].numpy(), 0.9 + 0.1 * exact.var((0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_conv_batch_norm_is_bit_identical_to_its_two_operators(kernel, residual):
    paddle.seed(6)
    geometry = [2, 2, *[kernel // 2] * 4, 1, 1, 1]
    operands = [half(4, 32, 16, 16), single(64, 32, kernel, kernel), single(64), single(64)]
    operands += [half(4, 64, 8, 8)] if residual else []
    weights = paddle.randn([4, 64, 8, 8]).astype("bfloat16")

    def fused(x, weight, scale, offset, z=None):
        norm = scale, offset, paddle.zeros([64]), paddle.ones([64])
        stage = operators.ConvNormStage(weight, norm, geometry, 0.9, 1e-5, "relu")
        return operators.conv_batch_norm(x, stage, z)

    def separate(x, weight, scale, offset, z=None):
        return norm_of("relu")(operators.convolve(x, weight, None, geometry), scale, offset, z)

    results = []
    for function in (fused, separate):
        with operators.autocast_bfloat16():
            y = function(*operands)
        results.append([y, *paddle.grad([y], operands, [weights])])
    for one, other in zip(*results, strict=True):
        assert np.array_equal(as_double(one), as_double(other))


def test_conv_batch_norm_splits_large_batches():
    """The parts of a batch have the same outputs as all of it; the sums of weight gradients differ in rounding only."""
    paddle.seed(7)
    x, weight = half(48, 8, 64, 64), single(64, 8, 3, 3)  # 25 MB of outputs
    scale, offset, geometry = single(64), single(64), [1, 1, 1, 1, 1, 1, 1, 1, 1]
    weights = paddle.randn([48, 64, 64, 64]).astype("bfloat16")
    stage = operators.ConvNormStage(
        weight, (scale, offset, paddle.zeros([64]), paddle.ones([64])), geometry, 0.9, 1e-5, "relu"
    )
    with operators.autocast_bfloat16():
        fused = operators.conv_batch_norm(x, stage)
        separate = norm_of("relu")(operators.convolve(x, weight, None, geometry), scale, offset)
    ours, theirs = (paddle.grad([y], [x, weight], [weights]) for y in (fused, separate))
    np.testing.assert_allclose(as_double(fused), as_double(separate), rtol=2 * ROUNDING, atol=1e-4)
    np.testing.assert_allclose(as_double(ours[1]), as_double(theirs[1]), atol=2e-3 * float(theirs[1].abs().max()))


def compare_up_to_rounding(fused: Callable[..., Tensor], separate: Callable[..., Tensor], operands: list[Tensor]):
    """Compare an operator with several ones, which round in between, and add their sums in another order."""
    results, weights = [], None
    for function in (fused, separate):
        with operators.autocast_bfloat16():
            y = function(*operands)
        weights = paddle.randn(y.shape).astype("bfloat16") if weights is None else weights
        results.append([y, *paddle.grad([y], operands, [weights])])
    for one, other in zip(*results, strict=True):
        ours, theirs = as_double(one), as_double(other)
        np.testing.assert_allclose(ours, theirs, rtol=2 * ROUNDING, atol=2 * ROUNDING * np.abs(theirs).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_conv_batch_norm_is_that_of_its_two_operators(stride, activation):
    paddle.seed(15)
    channels, geometry = 40, [stride, stride, 1, 1, 1, 1, 1, 1, 40]
    norm = single(channels), single(channels)

    def fused(x, weight, scale, offset):
        norm = scale, offset, paddle.zeros([channels]), paddle.ones([channels])
        return operators.conv_batch_norm(x, operators.ConvNormStage(weight, norm, geometry, 0.9, 1e-5, activation))

    def separate(x, weight, scale, offset):
        return norm_of(activation)(operators.convolve(x, weight, None, geometry), scale, offset)

    compare_up_to_rounding(fused, separate, [half(5, channels, 21, 23), single(channels, 1, 3, 3), *norm])


@pytest.mark.parametrize("multiplier", [0.7, -1.5])
@pytest.mark.parametrize("activation", sorted(operators.HOMOGENEOUS_ACTIVATIONS, key=str))
@pytest.mark.parametrize("kernel, groups", [(1, 1), (3, 1), (5, 32)])
def test_conv_batch_norm_affine_is_that_of_its_operators(kernel, groups, activation, multiplier):
    paddle.seed(16)
    geometry = [1, 1, *[kernel // 2] * 4, 1, 1, groups]
    numbers = [paddle.to_tensor([number], stop_gradient=False) for number in (multiplier, -0.3)]

    def fused(x, weight, scale, offset, multiplier, addend):
        norm = scale, offset, paddle.zeros([32]), paddle.ones([32])
        stage = operators.ConvNormStage(weight, norm, geometry, 0.9, 1e-5, activation)
        return operators.conv_batch_norm_affine(x, stage, multiplier, addend)

    def separate(x, weight, scale, offset, multiplier, addend):
        normalized = norm_of(activation)(operators.convolve(x, weight, None, geometry), scale, offset)
        return operators.affine(normalized, multiplier, addend)

    operands = [half(4, 32, 20, 20), single(32, 32 // groups, kernel, kernel), single(32), single(32), *numbers]
    compare_up_to_rounding(fused, separate, operands)


# Input, expanded and output channels, size, kernel, stride, shortcut, activations.
BLOCKS = [
    (16, 96, 16, 14, 3, 1, True, ("relu6", "relu6", None)),
    (8, 48, 12, 28, 3, 2, False, ("relu6", "relu6", None)),
    (12, 72, 12, 15, 3, 1, True, ("relu6", "relu6", None)),
    (24, 88, 40, 14, 5, 2, False, ("hardswish", "hardswish", None)),
    (24, 40, 24, 7, 5, 1, True, ("swish", "swish", None)),
    (3, 16, 7, 5, 3, 1, False, (None, "relu", "relu")),
    (16, 16, 8, 56, 3, 1, False, ("relu6", "relu6", None)),
    (8, 96, 8, 61, 3, 1, True, ("relu6", "relu6", None)),  # so large that the expansion is computed again
    (8, 96, 12, 61, 5, 2, False, ("hardswish", "swish", None)),
]


@pytest.mark.parametrize("case", BLOCKS, ids=str)
def test_inverted_residual_is_as_exact_as_its_three_operators(case):
    """The mean error of its output against float64 is at most 1.1 times that of the three operators."""
    channels, wide, out, size, kernel, stride, shortcut, activations = case
    paddle.seed(16)
    shapes = [(wide, channels, 1, 1), (wide, 1, kernel, kernel), (out, wide, 1, 1)]
    padding = kernel // 2
    geometries = [
        [1, 1, 0, 0, 0, 0, 1, 1, 1],
        [stride, stride, *[padding] * 4, 1, 1, wide],
        [1, 1, 0, 0, 0, 0, 1, 1, 1],
    ]
    x = half(6, channels, size, size)
    parameters = []
    for shape in shapes:
        scale, offset = paddle.rand([shape[0]]) + 0.5, paddle.rand([shape[0]])
        weight = (paddle.randn(shape) / np.prod(shape[1:]) ** 0.5).astype("bfloat16").astype("float32")
        parameters += [weight, scale, offset]
    for parameter in parameters:
        parameter.stop_gradient = False

    def stages(values):
        return [
            operators.ConvNormStage(
                values[3 * i],
                (*values[3 * i + 1 : 3 * i + 3], paddle.zeros([shapes[i][0]]), paddle.ones([shapes[i][0]])),
                *(geometries[i], 0.9, 1e-5, activations[i]),
            )
            for i in range(3)
        ]

    def separate(x, *values):
        first, second, third = stages(values)
        y = operators.conv_batch_norm(operators.conv_batch_norm(x, first), second)
        return operators.conv_batch_norm(y, third, x if shortcut else None)

    def exact(x, *values):
        y = x
        for i in range(3):
            options = {"stride": stride, "padding": padding, "groups": wide} if i == 1 else {}
            y = batch_norm(F.conv2d(y, values[3 * i], **options), *values[3 * i + 1 : 3 * i + 3])
            y = ACTIVATIONS[activations[i]](y)
        return y + x if shortcut else y

    doubles = [paddle.to_tensor(as_double(value.detach()), stop_gradient=False) for value in (x, *parameters)]
    expected = exact(*doubles)
    weights = paddle.randn(expected.shape).astype("bfloat16")
    goal = [expected, *paddle.grad([expected], doubles, [paddle.to_tensor(as_double(weights))])]
    errors = []
    for function in (lambda x, *values: operators.inverted_residuals(x, [stages(values)], [shortcut]), separate):
        with operators.autocast_bfloat16():
            y = function(x, *parameters)
        assert y.dtype == paddle.bfloat16
        found = [y, *paddle.grad([y], [x, *parameters], [weights])]
        relative = [
            float(np.abs(as_double(one) - other.numpy()).mean() / other.abs().mean())
            for one, other in zip(found, goal, strict=True)
        ]
        errors.append([*relative[:2], np.mean(relative[2:])])  # the output, and the gradients of input and parameters
    (ours_y, ours_dx, ours_dw), (theirs_y, theirs_dx, theirs_dw) = errors
    assert ours_y <= 1.1 * theirs_y + FLOAT32_SUMS
    assert ours_dx <= 1.1 * theirs_dx + FLOAT32_SUMS
    assert ours_dw <= 1.3 * theirs_dw + FLOAT32_SUMS  # few numbers
    assert ours_y <= 2 * ROUNDING
    assert ours_dx <= 6 * ROUNDING


def test_inverted_residual_is_deterministic_and_never_nan_for_constant_channels():
    """A channel that is constant, as after a dead ReLU6, has a variance of zero."""
    block = layers.ConvBNLayer(16, 96, 1, act="relu6"), layers.ConvBNLayer(96, 96, 3, groups=96, act="relu6")
    project = layers.ConvBNLayer(96, 16, 1, act=None)
    x = half(4, 16, 14, 14)
    with paddle.no_grad():
        block[0].bn.bias.set_value(paddle.full([96], -100.0))
    results = []
    for _ in range(2):
        with operators.autocast_bfloat16():
            y = layers.inverted_residual(*block, project, x, shortcut=True)
        results.append([y, *paddle.grad([y], [x, block[0].conv.weight, block[1].conv.weight, project.conv.weight])])
    for one, other in zip(*results, strict=True):
        assert np.isfinite(as_double(one)).all()
        assert np.array_equal(as_double(one), as_double(other))


@pytest.mark.parametrize("channels", [3, 16, 37])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2), (3, 2, 0)])
def test_pooling(kernel, stride, padding, ceil_mode, channels):
    paddle.seed(8)
    geometry = [kernel, kernel, stride, stride, *[padding] * 4, int(ceil_mode)]
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    x = half(2, channels, 13, 14)
    agree(lambda x: operators.average_pool(x, geometry), lambda x: F.avg_pool2d(x, **options), [x])
    with operators.autocast_bfloat16():
        found = operators.max_pool(x, geometry)
    assert np.array_equal(as_double(found), F.max_pool2d(paddle.to_tensor(as_double(x)), **options).numpy())


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_max_pooling_gradient(kernel, stride, padding):
    """With values that are all different: of equal ones, either can be the maximum."""
    geometry = [kernel, kernel, stride, stride, *[padding] * 4, 0]
    values = np.random.default_rng(9).permutation(256).reshape(1, 1, 16, 16).astype("float32")  # exact in bfloat16
    x = paddle.to_tensor(np.concatenate([values, values[..., ::-1]], axis=1)).astype("bfloat16")
    x.stop_gradient = False
    agree(
        lambda x: operators.max_pool(x, geometry),
        lambda x: F.max_pool2d(x, kernel, stride, padding),
        [x],
    )


def test_global_average_pooling_returns_rounded_means_in_float32():
    paddle.seed(10)
    x = half(3, 40, 7, 9)
    with operators.autocast_bfloat16():
        assert operators.average_pool(x, [1, 1]).dtype == paddle.float32
    agree(lambda x: operators.average_pool(x, [1, 1]).astype("bfloat16"), lambda x: F.adaptive_avg_pool2d(x, 1), [x])


@pytest.mark.parametrize("output", [3, (2, 5), 7])
def test_adaptive_average_pooling(output):
    paddle.seed(10)
    sizes = [output, output] if isinstance(output, int) else list(output)
    agree(lambda x: operators.average_pool(x, sizes), lambda x: F.adaptive_avg_pool2d(x, output), [half(3, 40, 7, 9)])


def test_linear_returns_float32():
    paddle.seed(11)
    agree(operators.linear, F.linear, [half(6, 37), single(37, 11), single(11)])
    with operators.autocast_bfloat16():
        assert operators.linear(half(2, 3), single(3, 4), single(4)).dtype == paddle.float32


@pytest.mark.parametrize("activation", operators.ACTIVATION_CODES)
@pytest.mark.parametrize("shape", [(2, 19, 5, 3), (4, 64, 7, 7)])
def test_sum(shape, activation):
    paddle.seed(13)
    agree(
        lambda x, y: operators.add(x, y, activation),
        lambda x, y: ACTIVATIONS[activation](x + y),
        [half(*shape), half(*shape)],
    )


@pytest.mark.parametrize("activation", operators.ACTIVATION_CODES)
def test_activation(activation):
    paddle.seed(13)
    agree(lambda x: operators.activate(x, activation), ACTIVATIONS[activation], [half(3, 19, 5, 3)])


@pytest.mark.parametrize("shape", [(5, 19, 5, 3), (4, 64, 7, 7)])
def test_affine(shape):
    paddle.seed(18)
    agree(operators.affine, lambda x, multiplier, addend: multiplier * x + addend, [half(*shape), single(1), single(1)])


@pytest.mark.parametrize("shape", [(5, 19, 5, 3), (4, 64, 7, 7), (1, 3, 1, 1)])
def test_sum_with_a_factor_per_image(shape):
    paddle.seed(15)
    factors = paddle.to_tensor(([0.0, 1.25, 2.0, 0.0, 1.0])[: shape[0]])
    agree(
        lambda x, y: operators.add_scaled(x, y, factors),
        lambda x, y: x + y * factors.astype("float64").reshape([-1, 1, 1, 1]),
        [half(*shape), half(*shape)],
    )


@pytest.mark.parametrize("shuffled", [False, True])
def test_concatenation_is_exact(shuffled):
    paddle.seed(16)
    parts = [half(2, channels, 5, 3) for channels in ([12, 12, 12] if shuffled else [3, 40, 17])]

    def theirs(*parts):
        joined = paddle.concat(list(parts), axis=1)
        return native_layers.channel_shuffle(joined, len(parts)) if shuffled else joined

    agree(lambda *parts: operators.concat(parts, shuffled=shuffled), theirs, parts)


def test_halves_are_exact_and_each_can_be_unused():
    paddle.seed(17)
    x = half(2, 26, 5, 3)
    agree(lambda x: operators.add(*operators.split_halves(x)), lambda x: x[:, :13] + x[:, 13:], [x])
    agree(lambda x: operators.split_halves(x)[1], lambda x: x[:, 13:], [x])


def test_an_activation_of_pooled_values_computes_in_float32():
    with operators.autocast_bfloat16():
        assert operators.activate(paddle.randn([2, 5, 1, 1]), "hardswish").dtype == paddle.float32


@pytest.mark.parametrize(("channels", "hidden", "size"), [(16, 4, 9), (37, 5, 7), (130, 16, 1), (64, 4, 28)])
def test_squeeze_excite(channels, hidden, size):
    paddle.seed(14)

    def ours(x, squeeze, squeeze_bias, excite, excite_bias):
        gate = operators.Gate("sigmoid")
        block = operators.SqueezeExcite((squeeze, squeeze_bias), (excite, excite_bias), "relu", gate)
        return operators.squeeze_excite(x, block)

    def theirs(x, squeeze, squeeze_bias, excite, excite_bias):
        hidden_units = F.relu(F.linear(x.mean([2, 3]), squeeze, squeeze_bias))
        return x * F.sigmoid(F.linear(hidden_units, excite, excite_bias)).unsqueeze([2, 3])

    parameters = [single(channels, hidden), single(hidden), single(hidden, channels), single(channels)]
    agree(ours, theirs, [half(3, channels, size, size), *parameters])


def test_two_uses_of_a_tensor():
    paddle.seed(12)
    x = half(2, 19, 5, 3)
    with operators.autocast_bfloat16():
        first, second = operators.use_twice(x)
    weights = [paddle.randn(x.shape).astype("bfloat16") for _ in range(2)]
    for use in (first, second):
        assert np.array_equal(as_double(use), as_double(x))
    (gradient,) = paddle.grad([first, second], [x], weights, retain_graph=True)
    check(gradient, paddle.to_tensor(sum(as_double(weight) for weight in weights)))
    (gradient,) = paddle.grad([first], [x], weights[:1])
    assert np.array_equal(as_double(gradient), as_double(weights[0]))


def test_images_are_rounded_to_nearest_even():
    bits = np.random.default_rng(13).integers(0, 1 << 32, 3 * 5 * 7, dtype=np.uint32).view(np.float32)
    values = bits[np.isfinite(bits) & (np.abs(bits) > 1e-37)][:96].reshape(1, 3, 4, 8)  # no denormal numbers
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, np.inf, -np.inf, np.nan, 0.0, -0.0], dtype=np.float32)
    values[0, 0, 0] = ties
    found = as_double(run_custom_op("ppzoo_bfloat16_channels_last", paddle.to_tensor(values))[0])[0]
    np.testing.assert_array_equal(found[0, :, 0], [1, 1 + 2**-6, -1, np.inf, -np.inf, np.nan, 0, -0.0])
    np.testing.assert_array_equal(found[1:], rounded_to_nearest(values)[0].transpose(1, 2, 0)[1:])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_is_propagated(activation):
    x = paddle.randn([2, 20, 4, 4])
    x[0, 3, 1, 1] = float("nan")
    with operators.autocast_bfloat16():
        y = norm_of(activation)(x, paddle.ones([20]), paddle.zeros([20]))
        pooled = operators.max_pool(x, [2, 2, 2, 2, 0, 0, 0, 0, 0])
    assert np.isnan(as_double(y)[:, 3]).all()
    assert np.isnan(as_double(pooled)[0, 3, 0, 0])
    assert np.isfinite(as_double(pooled)[:, 4:]).all()


def gradients_of(network: paddle.nn.Layer, images: Tensor) -> tuple[Tensor, np.ndarray]:
    """Return the logits, and the gradients of all parameters."""
    logits = network(images)
    F.cross_entropy(logits, paddle.arange(len(images)) % 10).backward()
    slopes = [parameter.grad.numpy().ravel() for parameter in network.parameters() if parameter.grad is not None]
    network.clear_gradients()
    return logits, np.concatenate(slopes)


@pytest.mark.parametrize("name", ["ResNet18", "ResNet50_vd", "MobileNetV1_x0_5", "MobileNetV2_x0_5", "DenseNet121"])
def test_network_is_deterministic_and_has_the_rounding_errors_of_bfloat16(name):
    """The error of the logits is that of float32 with rounded weights and rounded outputs of all layers."""
    paddle.seed(14)
    network = ppzoo.create_model(name, class_num=10)
    network.train()
    images = paddle.randn([8, 3, 64, 64])
    exact, slopes = gradients_of(network, images)
    with operators.autocast_bfloat16():
        logits, found = gradients_of(network, images)
        again, slopes_again = gradients_of(network, images)
    assert logits.dtype == paddle.float32
    assert np.array_equal(logits.numpy(), again.numpy())
    assert np.array_equal(found, slopes_again)
    assert not np.array_equal(found, slopes)
    rounded, _ = gradients_of(round_layers(network), images)
    assert float((logits - exact).abs().max()) <= 1.5 * float((rounded - exact).abs().max())


def round_layers(network: paddle.nn.Layer) -> paddle.nn.Layer:
    """Round the filters of `network`, and from now on the outputs of its layers, to bfloat16."""

    def rounded(value: Tensor) -> Tensor:
        return value.astype("bfloat16").astype("float32")

    activations = paddle.nn.ReLU, paddle.nn.ReLU6
    kinds = paddle.nn.Conv2D, paddle.nn.BatchNorm, *activations, native_layers.MaxPool2D, native_layers.AvgPool2D
    for layer in network.sublayers():
        if isinstance(layer, kinds):
            layer.register_forward_post_hook(lambda layer, inputs, output: rounded(output))
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.set_value(rounded(parameter))
    return network


def test_float32_operators_convert_bfloat16_images():
    """Operators without a bfloat16 version compute in float32, as PaddlePaddle's do for layers with hooks."""
    block = layers.ConvBNLayer(3, 16, 3)
    images, seen = paddle.randn([2, 3, 8, 8]), []
    block.act.register_forward_post_hook(lambda layer, inputs, output: seen.append(output.dtype))
    with operators.autocast_bfloat16():
        y = block(images)
        scaled = operators.scale_channels(y, paddle.ones([2, 16, 1, 1]))
    assert seen == [paddle.float32]
    assert scaled.dtype == paddle.float32


def test_no_operator_is_used_in_bfloat16_outside_of_the_context():
    x = half(2, 3, 8, 8)
    with operators.autocast_bfloat16():
        assert native.supports(x)
    assert not native.supports(x)
    assert not operators._in_bfloat16
