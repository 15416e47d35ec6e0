"""The families from LeNet to DenseNet beyond PaddleClas's fixtures: options, feature maps, heads, dropout."""

import numpy as np
import paddle
import pytest
from helpers import reference

from ppzoo.errors import ConfigError
from ppzoo.models import MODELS


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28), (1, 14)])
def test_lenet_with_other_image_sizes_and_channels(channels, size):
    network = MODELS["LeNet"].build(class_num=7, input_image_channel=channels, image_size=size)
    assert network(paddle.zeros([2, channels, size, size])).shape == [2, 7]


def test_lenet_refuses_images_that_are_too_small():
    with pytest.raises(ConfigError, match="at least 14 pixels, got 13"):
        MODELS["LeNet"].build(image_size=13)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("LeNet", 32, {2: [6, 15, 15], 4: [16, 5, 5]}),
        ("AlexNet", 224, {4: [64, 55, 55], 8: [192, 27, 27], 16: [256, 13, 13], 32: [256, 6, 6]}),
        ("VGG16_cifar", 32, {4: [256, 8, 8], 8: [512, 4, 4], 16: [512, 2, 2], 32: [512, 1, 1]}),
        ("GoogLeNet", 224, {4: [192, 55, 55], 8: [480, 27, 27], 16: [832, 13, 13], 32: [1024, 6, 6]}),
        ("GoogLeNet_cifar", 32, {2: [832, 16, 16], 4: [1024, 8, 8]}),
        ("NIN", 224, {4: [96, 54, 54], 8: [256, 26, 26], 16: [384, 12, 12], 32: [384, 5, 5]}),
        ("DenseNet_plain", 64, {4: [192, 16, 16], 8: [224, 8, 8], 16: [240, 4, 4], 32: [248, 2, 2]}),
        ("SqueezeNet1_0", 224, {4: [256, 54, 54], 8: [512, 26, 26], 16: [512, 12, 12]}),
        ("SqueezeNet1_1", 224, {4: [128, 55, 55], 8: [256, 27, 27], 16: [512, 13, 13]}),
    ],
)
def test_feature_layers_are_the_last_with_their_stride(name, size, expected):
    network = MODELS[name].build()
    network.eval()
    sublayers, maps = dict(network.named_sublayers()), {}
    for stride, path in network.feature_layers.items():
        sublayers[path].register_forward_post_hook(
            lambda _layer, _inputs, output, stride=stride: maps.setdefault(stride, []).append(output.shape[1:])
        )
    with paddle.no_grad():
        network(paddle.zeros([1, 3, size, size]))
    assert maps == {stride: [shape] for stride, shape in expected.items()}


def test_googlenet_returns_auxiliary_logits_in_evaluation():
    network = MODELS["GoogLeNet"].build(class_num=5)
    network.eval()
    images = paddle.to_tensor(reference.image(1, 224, 0))
    with paddle.no_grad():
        logits = network(images)
        alone = network.forward_head(network.forward_features(images))
    assert [output.shape for output in logits] == [[1, 5]] * 3
    np.testing.assert_array_equal(logits[0].numpy(), alone.numpy())


def test_nin_reset_replaces_the_last_block_and_keeps_its_names():
    network = MODELS["NIN"].build(class_num=20)
    names = [value.name for value in network.state_dict().values()]
    network.reset_classifier(5)
    assert network(paddle.zeros([2, 3, 224, 224])).shape == [2, 5]
    assert [value.name for value in network.state_dict().values()] == names


@pytest.mark.parametrize("name", ["AlexNet", "VGG11", "GoogLeNet", "NIN", "DenseNet121", "SqueezeNet1_0"])
def test_dropout_rate_outside_its_range_is_refused(name):
    with paddle.LazyGuard(), pytest.raises(ConfigError, match=r"below 1, got 1.5"):
        MODELS[name].build(dropout=1.5)


def test_dropout_scales_in_evaluation_like_paddleclas():
    network = MODELS["SqueezeNet1_1"].build(class_num=3, dropout=0.25)
    features = paddle.ones([1, 512, 2, 2])
    network.train()
    kept = network._drop(features).unique().tolist()
    network.eval()
    assert set(kept) <= {0.0, 1.0}
    assert network._drop(features).unique().tolist() == [0.75]
