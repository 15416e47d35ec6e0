"""Native operators against PaddlePaddle and float64 in edge cases: paddings, outliers, special values."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppzoo.layers import native_layers
from ppzoo.native import operators

pytestmark = pytest.mark.usefixtures("native_on")


def leaf(values) -> paddle.Tensor:
    made = paddle.to_tensor(np.asarray(values, np.float32))
    made.stop_gradient = False
    return made


def random(*shape: int) -> paddle.Tensor:
    return leaf(np.random.default_rng(0).standard_normal(shape))


def agree(ours, theirs, operands) -> None:
    """Compare outputs and gradients; NaN must be where PaddlePaddle has NaN."""
    found, expected = ours(*operands), theirs(*operands)
    assert found.shape == expected.shape
    dy = paddle.randn(expected.shape)
    gradients = zip(paddle.grad([found], operands, [dy]), paddle.grad([expected], operands, [dy]), strict=True)
    for one, other in [(found, expected), *gradients]:
        scale = float(np.nanmax(np.abs(other.numpy()), initial=0.0)) or 1.0
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=4e-6 * min(scale, 1e6))


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_average_pooling_gradient_of_inputs_outside_the_window_is_zero(size, kernel):
    x = random(2, 5, size, size)
    agree(lambda x: native_layers.AvgPool2D(kernel, size)(x), lambda x: F.avg_pool2d(x, kernel, size), [x])


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(2, 2, [0, 3, 0, 3]), (2, 2, [3, 0, 3, 0]), (3, 2, [1, 3, 4, 0]), (2, 3, [2, 2, 2, 2]), (2, 4, [1, 1, 1, 1])],
)
def test_pooling_with_unequal_paddings_and_windows_in_the_padding(kernel, stride, padding, ceil_mode):
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    x = [random(2, 5, 6, 7)]
    agree(native_layers.MaxPool2D(kernel, **options), paddle.nn.MaxPool2D(kernel, **options), x)
    for exclusive in (True, False):
        options["exclusive"] = exclusive
        agree(native_layers.AvgPool2D(kernel, **options), paddle.nn.AvgPool2D(kernel, **options), x)


@pytest.mark.parametrize("place", ["first", "last", "middle", "first image"])
@pytest.mark.parametrize("size", [1e2, 1e4])
@pytest.mark.parametrize("channels", [3, 96])
def test_variance_is_accurate_with_outliers(channels, size, place):
    x = np.random.default_rng(1).standard_normal((8, channels, 60, 60)).astype(np.float32)
    index = {"first": (0, 0, 0), "last": (-1, -1, -1), "middle": (4, 30, 30), "first image": (0, ..., slice(None))}[
        place
    ]
    x[index[0], :, index[1], index[2]] *= size
    running = paddle.zeros([channels]), paddle.zeros([channels])
    norm = paddle.ones([channels]), paddle.zeros([channels]), *running
    operators.batch_norm(leaf(x), norm, momentum=0.0, epsilon=1e-5, activation=None)
    exact = x.astype(np.float64).var((0, 2, 3))
    np.testing.assert_allclose(running[1].numpy(), exact, rtol=2e-6)


def test_derivatives_at_the_kinks_match_paddlepaddle():
    agree(lambda x: operators.activate(x, "hardswish"), F.hardswish, [leaf([[[[-3.0, 3.0, 0.0, -4.0, 4.0]]]])])


def test_swish_of_large_negative_numbers_is_zero():
    x = leaf([[[[-1e37, -1e5, -100.0, 0.0, 1e30]]]])
    agree(lambda x: operators.activate(x, "swish"), lambda x: x * F.sigmoid(x), [x])


# Input, weights, strides, paddings: a filter larger than the input; only padding under the filter; one channel with a
# stride and one column of outputs; one channel of which the filter skips rows.
ODD = [
    ((2, 16, 2, 2), (16, 1, 3, 3), [2, 2], [0] * 4, 16),
    ((2, 16, 2, 2), (8, 16, 3, 3), [2, 2], [0] * 4, 1),
    ((2, 3, 1, 1), (8, 3, 4, 4), [4, 4], [0] * 4, 1),
    ((3, 11, 12, 2), (8, 11, 2, 1), [4, 3], [1] * 4, 1),
    ((2, 1, 12, 5), (8, 1, 1, 5), [1, 3], [0] * 4, 1),
    ((3, 1, 19, 5), (32, 1, 4, 3), [1, 4], [0] * 4, 1),
    ((3, 1, 103, 150), (6, 1, 1, 3), [4, 1], [0, 0, 1, 2], 1),
    ((2, 1, 139, 119), (21, 1, 2, 7), [4, 1], [3, 1, 2, 4], 1),
]


@pytest.mark.parametrize(("x", "weight", "stride", "padding", "groups"), ODD, ids=str)
def test_convolutions_of_odd_geometries(x, weight, stride, padding, groups):
    geometry = [*stride, *padding, 1, 1, groups]
    agree(
        lambda x, w: operators.convolve(x, w, None, geometry),
        lambda x, w: F.conv2d(x, w, stride=stride, padding=padding, groups=groups),
        [random(*x), random(*weight)],
    )


@pytest.mark.parametrize(
    ("x", "weight", "stride", "padding", "dilation"),
    [
        ((2, 3, 160, 160), (8, 3, 3, 3), 2, 1, 1),
        ((1, 3, 240, 130), (4, 3, 7, 5), 1, 2, 1),
        ((1, 1, 150, 90), (2, 1, 3, 3), 1, 3, 3),
        ((1, 2, 3000, 9), (3, 2, 5, 2), 4, 2, 1),
    ],
    ids=str,
)
def test_gradients_of_large_images_are_as_accurate_as_of_small_ones(x, weight, stride, padding, dilation):
    """A weight's gradient is a sum over all pixels, whose rounding must not grow with the size of the images."""
    geometry = [stride, stride, *([padding] * 4), dilation, dilation, 1]
    operands = [random(*x), random(*weight)]
    found = operators.convolve(*operands, None, geometry)
    dy = random(*found.shape)
    dw = paddle.grad([found], [operands[1]], [dy])[0]
    exact = [paddle.to_tensor(operand.numpy().astype(np.float64), stop_gradient=False) for operand in operands]
    expected = F.conv2d(*exact, stride=stride, padding=padding, dilation=dilation)
    exact_dw = paddle.grad([expected], [exact[1]], [dy.astype("float64")])[0].numpy()
    np.testing.assert_allclose(dw.numpy(), exact_dw, rtol=0, atol=1.5e-6 * np.abs(exact_dw).max())
