"""PyTorch weights are converted exactly, or refused with the reason."""

import numpy as np
import paddle
import pytest
from helpers import recorded_weights as recorded
from helpers import reference

from ppzoo.errors import ConfigError, WeightsError
from ppzoo.models import MODELS
from ppzoo.weights import load_weights, torch_import

IMPORTED = [
    ("torchvision-resnet18", "ResNet18", None),
    ("torchvision-resnet50", "ResNet50", None),
    ("torchvision-densenet121", "DenseNet121", None),
    ("torchvision-mobilenet_v2", "MobileNetV2", None),
    ("torchvision-shufflenet_v2_x0_5", "ShuffleNetV2_x0_5", None),
    ("timm-resnet18d", "ResNet18_vd", None),
    ("timm-resnet50c", "ResNet50_vc", None),
    ("timm-resnet50d", "ResNet50_vd", "timm"),
    ("timm-mobilenetv2_100", "MobileNetV2", None),
    ("timm-tf_efficientnet_b0", "EfficientNetB0", "timm-tf"),
    ("timm-tf_efficientnet_lite0", "EfficientNet_lite0", "timm-tf"),
    pytest.param("torchvision-alexnet", "AlexNet", None, marks=pytest.mark.slow),
    pytest.param("torchvision-vgg11", "VGG11", None, marks=pytest.mark.slow),
    pytest.param("timm-vgg11", "VGG11", "timm", marks=pytest.mark.slow),
]
REFUSED = [
    ("torchvision-vgg11_bn", "VGG11", "has batch norms"),
    ("torchvision-googlenet", "GoogLeNet", "ReLUs between the convolutions"),
    ("torchvision-squeezenet1_0", "SqueezeNet1_0", "rounds the sizes"),
    ("torchvision-squeezenet1_1", "SqueezeNet1_1", "does not pad"),
    ("torchvision-mobilenet_v3_small", "MobileNetV3_small_x1_0", "hard swish"),
    ("torchvision-mobilenet_v3_large", "MobileNetV3_large_x1_0", "hard swish"),
    ("torchvision-efficientnet_b0", "EfficientNetB0", "pads both sides equally"),
    ("torchvision-shufflenet_v2_x0_5", "ShuffleNetV2_swish", "swish"),
    ("timm-mobilenetv3_small_100", "MobileNetV3_small_x1_0", "hard swish"),
    ("timm-mobilenetv3_large_100", "MobileNetV3_large_x1_0", "hard swish"),
    ("timm-efficientnet_b0", "EfficientNetB0", "timm-tf"),
    ("timm-efficientnet_lite0", "EfficientNet_lite0", "timm-tf"),
]


def outline(architecture):
    with paddle.LazyGuard():
        return MODELS[architecture].build(class_num=10)


def empty_entries(name):
    """Return the entries of a recorded network, without values."""
    layers = recorded.record(name)["layers"]
    return torch_import.normalize_names(
        {key: np.broadcast_to(np.float32(0), s) for key, s in recorded.shapes(layers).items()}
    )


def translate(entries, architecture, origin=None):
    scheme = torch_import.recognize(entries, architecture, origin, "a.pth")
    candidates = [(name, outline(name)) for name in ("ResNet18", "ResNet34", "ResNet50") if scheme.covers(name)]
    return torch_import.translate(
        entries, outline(architecture), scheme, architecture=architecture, source="a.pth", candidates=candidates
    )


def imported(name, architecture, origin=None):
    record = recorded.record(name)
    arrays = recorded.weights(record["layers"], zero_biases=record["zero_biases"])
    network = MODELS[architecture].build(class_num=10)
    load_weights(network, translate(torch_import.normalize_names(arrays), architecture, origin).arrays, head="strict")
    network.eval()
    return network, record


@pytest.mark.parametrize(("name", "architecture", "origin"), IMPORTED)
def test_converted_network_has_the_outputs_of_pytorch(name, architecture, origin):
    network, record = imported(name, architecture, origin)
    with paddle.no_grad():
        logits = network(paddle.to_tensor(reference.image(1, record["size"], 0))).numpy()[0]
    expected = np.array(record["logits"])
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "architecture", "reason"), REFUSED)
def test_unsupported_network_is_refused_with_the_reason(name, architecture, reason):
    with pytest.raises(WeightsError, match=reason) as error:
        translate(empty_entries(name), architecture)
    assert f"a.pth cannot be converted to {architecture}" in str(error.value)
    assert "\n" not in str(error.value)


def measured_layers():
    """Yield each measured architecture with its layers and their names in each naming scheme."""
    for name in reference.ARCHITECTURES:
        layers = list(dict.fromkeys(key.rpartition(".")[0] for key in reference.architecture(name)["keys"].tolist()))
        for scheme in torch_import.NAMING_SCHEMES:
            if scheme.layers is not None and scheme.covers(name):
                yield name, layers, scheme.layers(layers)


def test_layer_names_are_unique():
    for name, layers, names in measured_layers():
        given = [names[layer] for layer in layers if names[layer] is not None]
        assert len(set(given)) == len(given), name


def test_only_the_expected_layers_have_no_counterpart():
    for name, layers, names in measured_layers():
        without = [layer for layer in layers if names[layer] is None]
        if name in ("ResNet18", "ResNet34", "ResNet18_vd", "ResNet34_vd"):
            assert without == ["blocks.0.short.conv", "blocks.0.short.bn"], name
        elif name.startswith("MobileNetV2"):
            expansion = "conv2._first_block._expand_conv"
            assert without == [f"{expansion}._conv", f"{expansion}._batch_norm"], name
        else:
            assert not without, name


def test_efficientnet_pytorch_names_match_a_real_file():
    entries = empty_entries("efficientnet-pytorch-lite0")
    scheme = torch_import.recognize(entries, "EfficientNet_lite0", None, "a.pth")
    names = torch_import.locate_entries(MODELS["EfficientNet_lite0"].build(), scheme)
    assert names.torch_shapes == {name: array.shape for name, array in entries.items()}


@pytest.mark.parametrize(
    ("name", "architecture", "layer", "shape"),
    [
        ("torchvision-resnet18", "ResNet18", "blocks.0.short", (2, 64, 8, 8)),
        ("torchvision-mobilenet_v2", "MobileNetV2", "conv2._first_block._expand_conv", (2, 32, 8, 8)),
    ],
)
def test_additional_layer_computes_the_identity(name, architecture, layer, shape):
    network, _ = imported(name, architecture)
    x = np.random.RandomState(0).uniform(0, 6, shape).astype("float32")
    y = dict(network.named_sublayers())[layer](paddle.to_tensor(x)).numpy()
    np.testing.assert_allclose(y, x, rtol=2e-7)


def test_missing_unexpected_and_mismatched_entries_are_refused():
    entries = empty_entries("torchvision-resnet18")
    lacking = {name: value for name, value in entries.items() if name != "layer2.0.downsample.0.weight"}
    with pytest.raises(WeightsError, match=r"1 missing \(layer2.0.downsample.0.weight\)"):
        translate(lacking, "ResNet18")
    with pytest.raises(WeightsError, match=r"1 unexpected \(layer1.0.se.weight\)"):
        translate({**entries, "layer1.0.se.weight": np.zeros(3)}, "ResNet18")
    with pytest.raises(WeightsError, match=r"layer1.0.conv1.weight: 3 in the file, 64x64x3x3 in the network"):
        translate({**entries, "layer1.0.conv1.weight": np.zeros(3)}, "ResNet18")


def test_vgg_biases_must_be_zero():
    entries = empty_entries("torchvision-vgg11")
    entries["features.6.bias"] = np.full(256, 1e-3, np.float32)
    with pytest.raises(WeightsError, match="cannot be converted to VGG11: torchvision's network adds biases"):
        translate(entries, "VGG11")


def test_error_names_the_architecture_that_fits():
    with pytest.raises(WeightsError, match=r"does not fit ResNet18: .*; the weights look like those of ResNet50"):
        translate(empty_entries("torchvision-resnet50"), "ResNet18")
    with pytest.raises(WeightsError, match="got those of timm's MobileNetV2"):
        translate(empty_entries("timm-mobilenetv2_100"), "ResNet18")


def test_origin_without_the_network_is_refused():
    entries = empty_entries("torchvision-resnet18")
    with pytest.raises(
        ConfigError, match="--from: torchvision has no weights that fit ResNet18_vd; expected paddleclas or timm"
    ):
        translate(entries, "ResNet18_vd", "torchvision")
    with pytest.raises(ConfigError, match=r"--from: expected torchvision, timm, .* or paddleclas, got 'keras'"):
        translate(entries, "ResNet18", "keras")
    with pytest.raises(WeightsError, match="expected the names of torchvision's MobileNetV2, got those of timm's"):
        translate(empty_entries("timm-mobilenetv2_100"), "MobileNetV2", "torchvision")


def test_prefixed_and_older_names_are_normalized():
    plain = empty_entries("torchvision-densenet121")
    older = {f"module.{name.replace('.norm1.', '.norm.1.')}": value for name, value in plain.items()}
    assert list(torch_import.normalize_names(older)) == list(plain)
    twice = {"features.denseblock1.denselayer1.norm1.weight", "features.denseblock1.denselayer1.norm.1.weight"}
    with pytest.raises(WeightsError, match="twice"):
        torch_import.normalize_names(dict.fromkeys(twice, np.zeros(1)))
