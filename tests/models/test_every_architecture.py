"""Tests of all registered architectures."""

import tempfile

import numpy as np
import paddle
import pytest
from helpers import reference

from ppzoo import builders
from ppzoo.errors import ConfigError
from ppzoo.models import MODELS
from ppzoo.models.model_stats import model_stats
from ppzoo.weights import load_weights, save_pdparams


def family(name: str) -> str:
    return MODELS[name].network.__module__


def cost(name: str) -> int:
    """Multiply-adds; 0 if `model_stats.json` lacks the architecture (another test reports that)."""
    return model_stats()[name].flops if name in model_stats() else 0


CHEAPEST = sorted({family(name): name for name in sorted(MODELS, key=cost, reverse=True)}.values())
# Without padding, feature maps are smaller than image size / stride.
UNPADDED = {"LeNet", "AlexNet", "GoogLeNet", "NIN", "SqueezeNet1_0", "SqueezeNet1_1"}


def all_architectures(limit: float) -> list:
    """Return all architectures; those above `limit` are marked slow, except for the cheapest of each family."""
    is_fast = {name: cost(name) <= limit or name in CHEAPEST for name in sorted(MODELS)}
    return [name if fast else pytest.param(name, marks=pytest.mark.slow) for name, fast in is_fast.items()]


ALL, EXPORTED = all_architectures(1e9), all_architectures(1e8)


def heads(output) -> list[paddle.Tensor]:
    return output if isinstance(output, list) else [output]


def images(batch: int, size: int) -> paddle.Tensor:
    return paddle.to_tensor(reference.image(batch, size, 0))


def small_images(network, name: str, batch: int) -> paddle.Tensor:
    """Images of at most 64 pixels if the head allows it, else of the native size."""
    native = MODELS[name].image_shape[1]
    network.eval()
    try:
        with paddle.no_grad():
            network(images(1, min(64, native)))
    except ValueError:
        return images(batch, native)
    return images(batch, min(64, native))


@pytest.mark.parametrize("name", ALL)
def test_logits_at_the_native_size(name):
    variant = MODELS[name]
    network = variant.build()
    network.eval()
    with paddle.no_grad():
        outputs = heads(network(images(1, variant.image_shape[1])))
    assert {tuple(output.shape) for output in outputs} == {(1, variant.class_num)}
    assert all(np.isfinite(output.numpy()).all() for output in outputs)


@pytest.mark.parametrize("name", EXPORTED)
def test_gray_images_give_the_logits_of_rgb_images_with_equal_channels(name):
    """With the converted weights of the network for RGB images; in float64, since random weights magnify rounding."""
    color, gray = (MODELS[name].build(class_num=5, in_channels=n).to(dtype="float64") for n in (3, 1))
    gain = 0.7 if name.startswith("RepVGG") else 1.0  # with their initial weights, the deepest ones are chaotic
    color.set_state_dict({key: value * gain if value.ndim == 4 else value for key, value in color.state_dict().items()})
    report = load_weights(gray, color.state_dict(), stem="auto")
    assert report.complete and set(report.converted.values()) == {(3, 1)}
    plane = small_images(color, name, 1)[:, :1].astype("float64")
    gray.eval()
    with paddle.no_grad():
        both = zip(heads(color(plane.expand([-1, 3, -1, -1]))), heads(gray(plane)), strict=True)
    for expected, got in both:
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_gets_a_gradient(name):
    network = MODELS[name].build(class_num=5)
    batch = small_images(network, name, 2)
    network.train()
    sum(output.square().mean() for output in heads(network(batch))).backward()
    without = [key for key, value in network.named_parameters() if not value.stop_gradient and value.grad is None]
    assert not without


@pytest.mark.parametrize("name", EXPORTED)
def test_saved_program_has_the_outputs_of_the_network(name):
    network = MODELS[name].build(class_num=5)
    batch = small_images(network, name, 2)
    with paddle.no_grad():
        expected = heads(network(batch))
    shape = [None, *batch.shape[1:]]
    with tempfile.TemporaryDirectory() as folder:
        paddle.jit.save(network, f"{folder}/network", input_spec=[paddle.static.InputSpec(shape, "float32")])
        found = heads(paddle.jit.load(f"{folder}/network")(batch))
    assert len(found) == len(expected)
    for output, reference_output in zip(found, expected, strict=True):
        difference = np.abs((output - reference_output).numpy()).max()
        assert difference <= 1e-5 * np.abs(reference_output.numpy()).max()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_two_instances_have_the_same_parameter_names(name):
    with paddle.LazyGuard():
        first, second = MODELS[name].build(), MODELS[name].build()
    names = [(key, value.name) for key, value in first.state_dict().items()]
    assert names == [(key, value.name) for key, value in second.state_dict().items()]
    assert len({parameter for _, parameter in names}) == len(names)
    assert not {id(value) for value in first.parameters()} & {id(value) for value in second.parameters()}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_reset_head_has_seven_outputs_and_keeps_its_names(name):
    with paddle.LazyGuard():
        network, seven = MODELS[name].build(), MODELS[name].build(class_num=7)
        network.reset_classifier(7)
    assert [(key, value.name, value.shape) for key, value in network.state_dict().items()] == [
        (key, value.name, value.shape) for key, value in seven.state_dict().items()
    ]
    assert all(value.trainable for key, value in network.named_parameters() if key.startswith(network.head_layers))


@pytest.mark.parametrize("name", CHEAPEST)
def test_reset_head_is_trained(name):
    network = MODELS[name].build()
    batch = small_images(network, name, 2)
    network.reset_classifier(7)
    network.train()
    outputs = heads(network(batch))
    assert {tuple(output.shape) for output in outputs} == {(2, 7)}
    sum(output.square().mean() for output in outputs).backward()
    parameters = dict(network.named_parameters())
    assert all(parameters[f"{layer}.weight"].grad is not None for layer in network.head_layers)


@pytest.mark.parametrize("name", CHEAPEST)
def test_state_dict_round_trip(name, tmp_path):
    network, other = MODELS[name].build(class_num=5), MODELS[name].build(class_num=5)
    save_pdparams(network.state_dict(), tmp_path / "network.pdparams")
    report = load_weights(other, tmp_path / "network.pdparams")
    assert not report.missing and not report.unexpected and not report.mismatched
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key].numpy(), value.numpy(), err_msg=key)


@pytest.mark.parametrize("name", ALL)
def test_features_have_the_sizes_and_channels_of_the_extractor(name):
    extractor = builders.create_model(name, features_only=True)
    extractor.eval()
    with paddle.no_grad():
        maps = extractor(images(1, 128))
    assert len(maps) == len(extractor.strides) >= 2
    assert [map_.shape[1] for map_ in maps] == extractor.channels
    lost = 3 if name in UNPADDED else 0
    for map_, stride in zip(maps, extractor.strides, strict=True):
        assert all(128 // stride - lost <= size <= 128 // stride for size in map_.shape[2:]), stride


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("ResNet18_vd", {4: 64, 8: 128, 16: 256, 32: 512}),
        ("ResNet50", {4: 256, 8: 512, 16: 1024, 32: 2048}),
        ("SE_ResNeXt50_32x4d", {4: 256, 8: 512, 16: 1024, 32: 2048}),
        ("VGG16_cifar", {4: 256, 8: 512, 16: 512, 32: 512}),
        ("DenseNet121", {4: 256, 8: 512, 16: 1024, 32: 1024}),
        ("EfficientNetB0", {4: 24, 8: 40, 16: 112, 32: 320}),
        ("MobileNetV1", {4: 128, 8: 256, 16: 512, 32: 1024}),
        ("MobileNetV2", {4: 24, 8: 32, 16: 96, 32: 320}),
        ("MobileNetV3_large_x1_0", {4: 24, 8: 40, 16: 112, 32: 160}),
        ("MobileNetV3_small_x1_0", {4: 16, 8: 24, 16: 48, 32: 96}),
        ("ShuffleNetV1_g3", {4: 24, 8: 240, 16: 480, 32: 960}),
        ("ShuffleNetV2_x1_0", {4: 24, 8: 116, 16: 232, 32: 464}),
    ],
)
def test_features_have_the_channels_of_the_paper_s_stages(name, channels):
    extractor = builders.create_model(name, features_only=True)
    assert dict(zip(extractor.strides, extractor.channels, strict=True)) == channels


def test_feature_extractor_keeps_the_mode_and_is_exported_with_dynamic_shapes(tmp_path):
    extractor = builders.create_model("ShuffleNetV2_x0_25", features_only=True)
    assert extractor.network.training
    extractor.eval()
    spec = paddle.static.InputSpec([None, 3, None, None], "float32")
    paddle.jit.save(extractor, str(tmp_path / "features"), input_spec=[spec])
    loaded = paddle.jit.load(str(tmp_path / "features"))
    for output, expected in zip(loaded(images(1, 96)), extractor(images(1, 96)), strict=True):
        np.testing.assert_allclose(output.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


def train_ten_steps(network, outer) -> None:
    """Train `network`, a part of `outer`, with weight decay, which changes parameters without gradients, too."""
    optimizer = paddle.optimizer.Momentum(0.1, parameters=network.parameters(), weight_decay=1e-2)
    outer.train()
    for step in range(10):
        logits = outer(paddle.to_tensor(reference.image(4, 32, step)))
        paddle.nn.functional.cross_entropy(logits, paddle.to_tensor([0, 1, 2, 3])).backward()
        optimizer.step()
        optimizer.clear_grad()


@pytest.mark.parametrize("within", ["alone", "in another network"])
@pytest.mark.parametrize("name", ["MobileNetV3_small_x0_35", "ShuffleNetV2_x0_25", "SE_ResNet18_vd"])
def test_training_does_not_change_frozen_parameters(name, within):
    network = MODELS[name].build(class_num=5)
    frozen = network.freeze()
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    train_ten_steps(network, network if within == "alone" else paddle.nn.Sequential(network))
    changed = {key for key, value in network.state_dict().items() if not np.array_equal(value.numpy(), before[key])}
    head = network.head_layers[0]
    assert changed == {f"{head}.weight", f"{head}.bias"} == set(before) - set(frozen)


def test_freeze_with_patterns():
    network = MODELS["MobileNetV2_x0_25"].build(class_num=5)
    frozen = network.freeze("conv1.*", "conv2.*")
    assert set(frozen) == {key for key, _ in network.named_parameters() if key.startswith(("conv1.", "conv2."))}
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    train_ten_steps(network, network)
    kept = {key for key, value in network.state_dict().items() if np.array_equal(value.numpy(), before[key])}
    assert kept == set(frozen)


def test_freeze_refuses_a_pattern_without_matches():
    network = MODELS["MobileNetV2_x0_25"].build(class_num=5)
    with pytest.raises(ConfigError, match=r"^no parameter matches 'conv1\.weights'"):
        network.freeze("conv1.weights")
    assert not any(value.stop_gradient for key, value in network.named_parameters() if "_batch_norm._" not in key)
