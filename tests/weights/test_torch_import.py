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
    ("timm-lcnet_035", "PPLCNet_x0_35", None),
    ("timm-hgnet_tiny", "PPHGNet_tiny", None),
    ("timm-hgnetv2_b0", "PPHGNetV2_B0", None),
    ("timm-mobilenetv4_conv_small", "MobileNetV4_conv_small", None),
    ("timm-mobilenetv4_hybrid_medium", "MobileNetV4_hybrid_medium", None),
    ("timm-repvgg_a0", "RepVGG_A0", None),
    ("timm-repvgg_a0-fused", "RepVGG_A0", None),
    ("timm-starnet_s1", "StarNet_S1", None),
    ("timm-fasternet_t0", "FasterNet_T0", None),
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
    ("timm-ghostnet_050", "GhostNet_x0_5", "hidden channels of squeeze-and-excitation"),
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
    arrays = recorded.weights(record["layers"], zero_biases=record["zero_biases"], gain=record.get("gain", 1.0))
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


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("efficientnet-pytorch-lite0", "EfficientNet_lite0"),
        ("timm-mobilenetv4_conv_medium", "MobileNetV4_conv_medium"),
        ("timm-mobilenetv4_conv_large", "MobileNetV4_conv_large"),
        ("timm-mobilenetv4_hybrid_large", "MobileNetV4_hybrid_large"),
        ("timm-repvgg_d2se", "RepVGG_D2se"),
    ],
)
def test_names_and_shapes_match_a_real_file(name, architecture):
    entries = empty_entries(name)
    scheme = torch_import.recognize(entries, architecture, None, "a.pth")
    with paddle.LazyGuard():
        network = MODELS[architecture].build(class_num=1000 if name.startswith("efficientnet-pytorch") else 10)
    names = torch_import.locate_entries(network, scheme)
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
    with pytest.raises(WeightsError, match=r"layer1.0.conv1.weight: 3 in the weights, 64x64x3x3 in the network"):
        translate({**entries, "layer1.0.conv1.weight": np.zeros(3)}, "ResNet18")


def test_vgg_biases_must_be_zero():
    entries = empty_entries("torchvision-vgg11")
    entries["features.6.bias"] = np.full(256, 1e-3, np.float32)
    with pytest.raises(WeightsError, match="cannot be converted to VGG11: torchvision's network adds biases"):
        translate(entries, "VGG11")


def test_bias_of_the_head_of_pp_lcnet_must_be_zero():
    entries = empty_entries("timm-lcnet_035")
    entries["conv_head.bias"] = np.full(1280, 1e-3, np.float32)
    with pytest.raises(WeightsError, match=r"timm's network adds a bias .* \(conv_head.bias is not zero\)"):
        translate(entries, "PPLCNet_x0_35")


@pytest.mark.parametrize("kind", ["scale", "bias"])
def test_affine_block_before_the_pooling_of_pp_hgnet_v2_must_not_be_negative(kind):
    entries = empty_entries("timm-hgnetv2_b0")
    entries[f"stem.stem1.lab.{kind}"] = np.full(1, -1e-3, np.float32)
    with pytest.raises(WeightsError, match="timm's network pads the maps of the stem's pooling with zeros"):
        translate(entries, "PPHGNetV2_B0")


def test_fused_repvgg_is_the_same_convolution_after_fusing_and_for_inference_only():
    network, record = imported("timm-repvgg_a0-fused", "RepVGG_A0")
    network.fuse()
    fused = recorded.weights(record["layers"], gain=record["gain"])
    for ours, theirs in (("stage0", "stem"), ("stage1.1", "stages.0.1"), ("stage4.0", "stages.3.0")):
        convolution = dict(network.named_sublayers())[f"{ours}.rbr_reparam"]
        np.testing.assert_allclose(convolution.weight.numpy(), fused[f"{theirs}.reparam_conv.weight"], rtol=1e-6)
        np.testing.assert_allclose(convolution.bias.numpy(), fused[f"{theirs}.reparam_conv.bias"], rtol=1e-6)
    notes = translate(empty_entries("timm-repvgg_a0-fused"), "RepVGG_A0").notes
    assert len(notes) == 1
    assert "the network is for inference" in notes[0]


def test_notes_name_only_values_that_change():
    assert translate(empty_entries("timm-hgnet_tiny"), "PPHGNet_tiny").notes == []
    assert translate(empty_entries("timm-lcnet_035"), "PPLCNet_x0_35").notes == [
        "skipped 1 zero bias, which the network does not have",
        "divided fc.weight by 0.8, because dropout multiplies by it in evaluation",
    ]
    assert translate(empty_entries("timm-mobilenetv4_hybrid_medium"), "MobileNetV4_hybrid_medium").notes == [
        "multiplied the weights of 8 query projections by the square root of the number of heads"
    ]


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
