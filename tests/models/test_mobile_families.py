"""The mobile families beyond PaddleClas's fixtures: padding, dropout, weight decay, channel shuffle."""

import math

import numpy as np
import paddle
import pytest
from helpers import reference
from paddle import nn
from paddle.nn import functional as F

from ppzoo import layers
from ppzoo.errors import ConfigError
from ppzoo.models import MODELS, efficientnet

# Native image size -> input size of the stem and of stages 1 to 7, from PaddleClas's table.
NATIVE_SIZES = {
    224: [224, 112, 112, 56, 28, 14, 14, 7],
    240: [240, 120, 120, 60, 30, 15, 15, 8],
    260: [260, 130, 130, 65, 33, 17, 17, 9],
    300: [300, 150, 150, 75, 38, 19, 19, 10],
    380: [380, 190, 190, 95, 48, 24, 24, 12],
    456: [456, 228, 228, 114, 57, 29, 29, 15],
    528: [528, 264, 264, 132, 66, 33, 33, 17],
    600: [600, 300, 300, 150, 75, 38, 38, 19],
}


def tensorflow_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, by the definition of TensorFlow's "SAME"."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def tensorflow_convolution(x: paddle.Tensor, convolution: nn.Conv2D, stride: int) -> paddle.Tensor:
    """Apply `convolution` to an explicitly padded map."""
    weight = convolution.weight
    before, after = tensorflow_padding(x.shape[-1], weight.shape[-1], stride)
    padded = F.pad(x, [before, after, before, after])
    return F.conv2d(padded, weight, stride=stride, groups=x.shape[1] // weight.shape[1])


@pytest.mark.parametrize("image_size", NATIVE_SIZES)
def test_native_padding_matches_paddleclas_s_table(image_size):
    table = NATIVE_SIZES[image_size]
    assert table == [math.ceil(image_size / stride) for stride in (1, 2, 2, 4, 8, 16, 16, 32)]
    for size in table:
        for kernel_size, stride in [(3, 1), (5, 1), (3, 2), (5, 2)]:
            before, after = tensorflow_padding(size, kernel_size, stride)
            top, bottom, left, right = layers.native_same_padding(size, kernel_size, stride)
            assert (top, bottom) == (left, right) == (before, after if before == after else before + stride)


@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetB2", "EfficientNetB3"])
def test_padding_of_strided_convolutions_matches_the_table(name):
    variant = MODELS[name]
    table = NATIVE_SIZES[variant.image_shape[1]]
    strided = [layer for layer in variant.build().sublayers() if getattr(layer, "_stride", None) == [2, 2]]
    expected = [
        layers.native_same_padding(table[row], kernel, 2) for row, kernel in [(0, 3), (2, 3), (3, 5), (4, 3), (6, 5)]
    ]
    assert [layer._padding for layer in strided] == expected


@pytest.mark.parametrize("size", [32, 33])
def test_native_padding_equals_paddleclas_s_crop(size):
    x = paddle.to_tensor(reference.image(2, size, 0))
    weight = paddle.randn([4, 3, 5, 5])
    cropped = F.conv2d(x, weight, stride=2, padding=1 + 2)[:, :, 1:, 1:]
    ours = F.conv2d(x, weight, stride=2, padding=layers.native_same_padding(32, 5, 2))
    np.testing.assert_allclose(ours.numpy(), cropped.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [64, 65, 71])
def test_efficientnet_lite_pads_like_tensorflow(size):
    stem = MODELS["EfficientNet_lite0"].build()._ef._conv_stem.parts[0]
    x = paddle.to_tensor(reference.image(1, size, 0))
    np.testing.assert_allclose(stem(x).numpy(), tensorflow_convolution(x, stem, 2).numpy(), rtol=1e-5, atol=1e-5)


def test_drop_connect_grows_with_depth_and_drops_complete_images():
    network = MODELS["EfficientNetB0"].build(drop_connect_rate=0.8)
    drops = [block.add_branch for block in network._ef.sublayers() if isinstance(block, efficientnet.MbConvBlock)]
    assert [drop.rate for drop in drops] == pytest.approx([0.8 * number / 16 for number in range(16)])
    paddle.seed(0)
    sums = drops[8](paddle.zeros([400, 3, 2, 2]), paddle.ones([400, 3, 2, 2])).numpy().reshape(400, -1)
    assert np.ptp(sums, axis=1).max() == 0
    assert np.unique(sums) == pytest.approx([0, 1 / 0.6])
    assert sums.mean() == pytest.approx(1, abs=0.1)
    network.eval()
    assert drops[8](paddle.zeros([4, 3, 2, 2]), paddle.ones([4, 3, 2, 2])).numpy().min() == 1


def test_dropout_rate_of_the_variant_can_be_overridden():
    variant = MODELS["EfficientNetB2"]
    assert variant.build()._drop.p == 0.3
    assert variant.build(dropout_rate=0.0)._drop.p == 0.0
    assert MODELS["MobileNetV3_small_x0_35"].build(dropout_prob=0.5).dropout.p == 0.5


@pytest.mark.parametrize("option", ["dropout_rate", "drop_connect_rate"])
def test_rate_outside_its_range_is_refused(option):
    with pytest.raises(ConfigError, match=f"{option}: expected .* got 1.5"):
        MODELS["EfficientNet_lite0"].build(**{option: 1.5})


@pytest.mark.parametrize(
    ("name", "option"),
    [("MobileNetV4_conv_small", "drop_rate"), ("StarNet_S1", "drop_rate"), ("GhostNet_x0_5", "dropout_prob")],
)
def test_dropout_rate_outside_its_range_is_refused(name, option):
    with pytest.raises(ConfigError, match=r"expected a dropout rate of at least 0 and below 1, got -0\.1"):
        MODELS[name].build(**{option: -0.1})


def test_mobilenet_v3_batch_norms_have_no_weight_decay():
    network = MODELS["MobileNetV3_small_x0_35"].build()
    before = {name: parameter.numpy() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = paddle.zeros_like(parameter)
    paddle.optimizer.SGD(0.1, parameters=network.parameters(), weight_decay=0.1).step()
    for name, parameter in network.named_parameters():
        decayed = ".bn." not in name
        np.testing.assert_allclose(parameter.numpy(), before[name] * (0.99 if decayed else 1), rtol=1e-5, err_msg=name)


def test_channel_shuffle_interleaves_groups():
    x = paddle.arange(6, dtype="float32").reshape([1, 6, 1, 1]).expand([2, 6, 3, 2])
    assert layers.channel_shuffle(x, 2)[1, :, 2, 1].tolist() == [0, 3, 1, 4, 2, 5]
    assert layers.channel_shuffle(x, 3)[0, :, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize(("channels", "expected"), [(5.6, 8), (16 * 0.35, 8), (18, 24), (19.9, 24), (80 * 1.25, 104)])
def test_make_divisible(channels, expected):
    assert layers.make_divisible(channels) == expected
