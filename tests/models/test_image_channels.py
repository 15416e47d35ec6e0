"""Tests of networks for gray images and for images of more than three channels."""

import numpy as np
import paddle
import pytest

from ppzoo import builders, models, weights
from ppzoo.errors import ConfigError, WeightsError
from ppzoo.models import MODELS

CHEAP = ("MobileNetV1_x0_25", "RepVGG_A0", "ResNet18_vd", "PPLCNet_x0_25")


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_training_step_with_other_channels(name, channels):
    network = builders.create_model(name, in_channels=channels, class_num=3)
    assert network.image_channels == channels
    network(paddle.rand([2, channels, 64, 64])).square().mean().backward()
    assert all(value.grad is not None for value in network.parameters() if not value.stop_gradient)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_only_the_kernels_that_read_the_images_differ(name):
    with paddle.LazyGuard():
        gray = MODELS[name].build(in_channels=1)
        color = MODELS[name].build().state_dict()
    assert {key: tensor.name for key, tensor in gray.state_dict().items()} == {
        key: tensor.name for key, tensor in color.items()
    }
    changed = {key for key, tensor in gray.state_dict().items() if tensor.shape != color[key].shape}
    assert changed == {f"{path}.weight" for path in gray.stem_paths}


def test_four_channels_repeat_and_scale_the_weights():
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
    converted = weights.convert_channels(kernel, 4)
    np.testing.assert_allclose(converted[0].ravel(), np.array([0, 1, 2, 0]) * 0.75)
    assert converted.dtype == np.float32


def test_pretrained_weights_are_converted_and_logged(tmp_path, caplog):
    path = tmp_path / "color.pdparams"
    weights.save_pdparams(MODELS["MobileNetV1_x0_25"].build().state_dict(), path)
    with caplog.at_level("INFO"):
        builders.create_model("MobileNetV1_x0_25", pretrained=str(path), in_channels=1)
    assert "conv.conv.weight summed from 3 to 1 channel" in caplog.text
    with caplog.at_level("INFO"):
        builders.create_model("MobileNetV1_x0_25", pretrained=str(path), in_channels=4)
    assert "conv.conv.weight repeated and scaled from 3 to 4 channels" in caplog.text


def test_weights_for_gray_images_do_not_fit_other_networks():
    gray = MODELS["MobileNetV1_x0_25"].build(in_channels=1).state_dict()
    for channels in (3, 4):
        with pytest.raises(WeightsError, match=r"1 mismatched \(conv.conv.weight: 8x1x3x3 in the weights"):
            weights.load_weights(MODELS["MobileNetV1_x0_25"].build(in_channels=channels), gray, stem="auto")
    color = MODELS["MobileNetV1_x0_25"].build().state_dict()
    with pytest.raises(WeightsError, match="1 mismatched"):
        weights.load_weights(MODELS["MobileNetV1_x0_25"].build(in_channels=1), color)


def test_inner_convolutions_with_as_many_channels_as_the_images_stay():
    network = MODELS["ResNet18"].build(in_channels=64)
    network.reset_stem(3)
    assert network.stem_paths == ("stem.0.conv",)
    network.eval()
    assert network(paddle.zeros([1, 3, 32, 32])).shape == [1, 1000]


def test_paddleclas_option_is_the_same_as_in_channels():
    assert MODELS["ResNet18"].build(input_image_channel=2).image_channels == 2
    assert MODELS["ResNet18"].build(in_channels=2, input_image_channel=2).image_channels == 2
    expected = r"^ResNet18.in_channels: expected the value of input_image_channel \(2\), got 1; set only one"
    with pytest.raises(ConfigError, match=expected):
        MODELS["ResNet18"].build(in_channels=1, input_image_channel=2)


@pytest.mark.parametrize("channels", [0, -1, 1.5, "1", True, 100_000])
def test_invalid_channels(channels):
    with pytest.raises(ConfigError, match=r"^MobileNetV2.in_channels: expected an integer from 1 to 1024"):
        models.MODELS["MobileNetV2"].build(in_channels=channels)
