"""`DistillationModel` with several students and teachers, and the outputs of inner layers that losses use."""

import numpy as np
import paddle
import pytest

import ppzoo
from ppzoo.errors import ConfigError
from ppzoo.models import DistillationModel


def images(size=64):
    return paddle.to_tensor(np.random.RandomState(0).rand(2, 3, size, size).astype("float32"))


def combine(*names, features, frozen=(), **options):
    networks = {f"Net{n}": ppzoo.create_model(name, class_num=4, **options) for n, name in enumerate(names)}
    return DistillationModel(networks, frozen=frozen, inference_arch="Net0", features=features)


@pytest.mark.parametrize(
    ("name", "path", "shape"),
    [
        ("PPLCNet_x0_25", "blocks3", [2, 16, 16, 16]),
        ("PPLCNet_x0_25", "blocks6", [2, 128, 2, 2]),
        ("MobileNetV3_small_x0_35", "blocks[0].expand_conv", [2, 8, 32, 32]),
        ("ResNet18", "blocks[7]", [2, 512, 2, 2]),
        ("ResNet18", "avg_pool", [2, 512, 1, 1]),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_inner_layers_are_returned_with_the_logits(name, path, shape, training):
    model = combine(name, name, features={"Net0": [path]})
    model.train() if training else model.eval()
    outputs = model(images())
    assert list(outputs["Net0"]) == ["logits", path]
    assert outputs["Net0"][path].shape == shape
    assert isinstance(outputs["Net1"], paddle.Tensor)
    outputs["Net0"][path].sum().backward()
    used = [parameter for parameter in model._sub_layers["Net0"].parameters() if parameter.grad is not None]
    assert used


def test_the_layer_is_the_one_that_computes_the_logits():
    model = combine("ResNet18", features={"Net0": ["avg_pool"]})
    model.eval()
    output = model(images())["Net0"]
    head = model._sub_layers["Net0"].fc
    np.testing.assert_allclose(head(output["avg_pool"].flatten(1)).numpy(), output["logits"].numpy(), rtol=1e-5)


def test_feature_maps_have_one_layout():
    plain, last = (
        combine("ResNet18", features={"Net0": ["blocks[3]"]}, data_format=layout) for layout in ("NCHW", "NHWC")
    )
    last.set_state_dict(plain.state_dict())
    maps = []
    for model in (plain, last):
        model.eval()
        maps.append(model(images())["Net0"]["blocks[3]"].numpy())
    np.testing.assert_allclose(*maps, atol=1e-4)


def test_a_frozen_teacher_has_no_gradients_of_its_layers():
    model = combine("ResNet18", "ResNet18", features={"Net0": ["blocks[1]"], "Net1": ["blocks[1]"]}, frozen=["Net1"])
    model.train()
    outputs = model(images())
    assert outputs["Net1"]["blocks[1]"].stop_gradient and not outputs["Net0"]["blocks[1]"].stop_gradient


def test_unknown_layers_are_refused():
    with pytest.raises(ConfigError, match=r"inner layer of Net0, got 'block3'; did you mean 'blocks3'"):
        combine("PPLCNet_x0_25", features={"Net0": ["block3"]})


def test_three_networks_can_share_two_teachers():
    model = combine("LeNet", "LeNet", "LeNet", features={}, frozen=["Net1", "Net2"])
    model.train()
    outputs = model(paddle.ones([2, 3, 32, 32]))
    assert {name: logits.stop_gradient for name, logits in outputs.items()} == {
        "Net0": False,
        "Net1": True,
        "Net2": True,
    }
    names = [parameter.name for parameter in model.parameters()]
    assert len(set(names)) == len(names)


def test_strides_of_text_lines_keep_the_width():
    """Equal to PaddleClas 2.6.0 for these options (compared once, differences of 0)."""
    strides = [2, [2, 1], [2, 1], [2, 1], [2, 1]]
    for name in ("ResNet18", "ResNet50_vd"):
        network = ppzoo.create_model(name, class_num=2, stride_list=strides)
        network.eval()
        assert network.forward_features(paddle.ones([1, 3, 64, 32])).shape[2:] == [2, 16]
        assert max(network.feature_layers) == 32
    with pytest.raises(ConfigError, match="stride_list: expected a list of 5 values"):
        ppzoo.create_model("ResNet18", stride_list=[2, 2])


def test_all_networks_take_images_of_the_same_channels():
    assert combine("PPLCNet_x0_25", features={}, in_channels=1).image_channels == 1
    networks = {f"Net{count}": ppzoo.create_model("PPLCNet_x0_25", class_num=2, in_channels=count) for count in (1, 3)}
    with pytest.raises(ConfigError, match=r"in_channels: expected the same number .* got Net1 1, Net3 3"):
        DistillationModel(networks, frozen=(), inference_arch="Net1")
