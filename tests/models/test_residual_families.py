"""ResNet and SENet beyond PaddleClas's fixtures: options, layouts, heads."""

import numpy as np
import paddle
import pytest
from helpers import reference

from ppzoo.errors import ConfigError
from ppzoo.models import MODELS
from ppzoo.models.resnet import ResNet
from ppzoo.models.senet import ResNeXt, SE_ResNet_vd

FAMILIES = [name for name in MODELS if MODELS[name].network.__module__ in ("ppzoo.models.resnet", "ppzoo.models.senet")]


def relative_difference(value, expected) -> float:
    return float(np.abs(value - expected).max() / np.abs(expected).max())


def evaluate(network, image: np.ndarray) -> np.ndarray:
    network.eval()
    with paddle.no_grad():
        return network(paddle.to_tensor(image)).numpy()


@pytest.mark.parametrize("name", ["ResNet18_vd", "ResNet50", "SE_ResNet18_vd", "SE_ResNeXt50_32x4d", "SENet18_cifar"])
def test_layouts_have_the_same_outputs_at_odd_sizes(name):
    """With 75 pixels the pooled shortcuts receive maps of 19, 10 and 5 pixels."""
    network, transposed = MODELS[name].build(class_num=7), MODELS[name].build(class_num=7, data_format="NHWC")
    transposed.set_state_dict(network.state_dict())
    image = reference.image(2, 75, 0)
    expected = evaluate(network, image)
    assert expected.shape == (2, 7)
    assert relative_difference(evaluate(transposed, image), expected) <= 1e-4


def test_use_first_short_conv_false_keeps_the_first_identity():
    plain = MODELS["ResNet18"].build(use_first_short_conv=False)
    default = MODELS["ResNet18"].build()
    dropped = set(default.state_dict()) - set(plain.state_dict())
    assert dropped and all(key.startswith("blocks.0.short.") for key in dropped)
    assert set(plain.state_dict()) < set(default.state_dict())
    assert evaluate(plain, reference.image(1, 64, 0)).shape == (1, 1000)


def test_use_first_short_conv_false_is_refused_for_bottlenecks():
    with pytest.raises(ConfigError, match=r"use_first_short_conv: expected True .* depth 50"):
        MODELS["ResNet50"].build(use_first_short_conv=False)


@pytest.mark.parametrize("name", ["ResNet18", "ResNet18_vd", "SE_ResNeXt50_32x4d", "ResNet18_cifar"])
def test_images_with_four_channels(name):
    network = MODELS[name].build(input_image_channel=4, class_num=5)
    image = np.concatenate([reference.image(1, 32, 0)] * 2, axis=1)[:, :4]
    assert evaluate(network, image).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "option"), [("ResNet18", "scale"), ("SE_ResNet18_vd", "input_image_channel"), ("ResNet50", "depth")]
)
def test_unknown_options_are_refused(name, option):
    with pytest.raises(ConfigError, match=rf"{name} has no option '{option}'.*options: class_num"):
        MODELS[name].build(**{option: 4})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("data_format", "NCWH", r"ResNet18.data_format: expected 'NCHW' or 'NHWC', got 'NCWH'"),
        ("class_num", 0, "ResNet18.class_num: expected at least 1, got 0"),
    ],
)
def test_invalid_option_values_are_refused(option, value, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        MODELS["ResNet18"].build(**{option: value})


@pytest.mark.parametrize("name", [name for name in FAMILIES if name.endswith("_cifar")])
def test_cifar_networks_have_ten_classes_and_32_pixels(name):
    variant = MODELS[name]
    assert variant.image_shape == (3, 32, 32)
    assert variant.build().state_dict()["fc.weight"].shape[1] == 10


@pytest.mark.parametrize(("network", "depth"), [(ResNet, 18), (SE_ResNet_vd, 18), (ResNeXt, 50)])
def test_only_head_layers_depend_on_the_number_of_classes(network, depth):
    with paddle.utils.unique_name.guard():
        seven = network(7, depth=depth)
    with paddle.utils.unique_name.guard():
        nine = network(9, depth=depth)
    other = {key: value.shape for key, value in nine.state_dict().items()}
    changed = {key.rpartition(".")[0] for key, value in seven.state_dict().items() if value.shape != other[key]}
    assert changed == set(network.head_layers)


@pytest.mark.slow
def test_senet154_matches_paddleclas_with_damped_weights():
    """Logits of PaddleClas 2.6.0 for class_num=8, one image of 64 pixels, and each block's last scale times 0.1.

    With the undamped reference weights the network is chaotic: an input that differs by 1e-7 changes the logits by more
    than 0.5, in PaddleClas's network as well.
    """
    network = MODELS["SENet154_vd"].build(class_num=8)
    reference.fill_network(network)
    for key, value in network.state_dict().items():
        if key.endswith("conv2._batch_norm.weight"):
            value.set_value(value * 0.1)
    expected = [-0.13980845, 3.7340825, -1.0225996, -5.7504115, -2.2414885, -2.6215458, -3.3551507, -8.007746]
    assert relative_difference(evaluate(network, reference.image(1, 64, 0)), np.array([expected])) <= 1e-4
