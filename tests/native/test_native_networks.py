"""Complete networks with native operators: accuracy, determinism, parameter names, export, hooks and forks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import pytest
from helpers.forks import succeeds_when_forked
from paddle import nn

import ppzoo
from ppzoo import layers, native
from ppzoo.layers.bfloat16 import _operator_name, _walk
from ppzoo.models.efficientnet import MbConvBlock
from ppzoo.models.mobilenet_v2 import InvresiBlocks
from ppzoo.models.mobilenet_v3 import Block, ResidualUnit
from ppzoo.models.pp_lcnet import Block as Row
from ppzoo.models.pp_lcnet import DepthwiseSeparable
from ppzoo.models.repvgg import RepVGGBlock
from ppzoo.native import operators

NETWORKS = ["MobileNetV2_x0_25", "ResNet18", "MobileNetV3_small_x0_35", "ShuffleNetV2_x0_25"]
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Swish)


def build(name: str, seed: int = 0) -> nn.Layer:
    paddle.seed(seed)
    with paddle.utils.unique_name.guard():
        network = ppzoo.create_model(name, class_num=10)
    for layer in network.sublayers():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return network


def without_activations(network: nn.Layer) -> nn.Layer:
    for layer in network.sublayers():
        for key, child in layer._sub_layers.items():
            if isinstance(child, ACTIVATIONS):
                layer._sub_layers[key] = nn.Identity()
    return network


def in_float64(network: nn.Layer) -> nn.Layer:
    state = {key: value.numpy().astype("float64") for key, value in network.state_dict().items()}
    network.to(dtype="float64")
    for layer in network.sublayers(include_self=True):
        layer._dtype = "float64"
    for key, value in network.state_dict().items():
        value.set_value(paddle.to_tensor(state[key]))
    return network


def gradients(network: nn.Layer, images: paddle.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits in training, and all gradients of a fixed combination of them in one array."""
    network.train()
    scores = network(images)
    weights = paddle.to_tensor(np.random.default_rng(0).standard_normal(scores.shape)).astype(scores.dtype)
    (scores * weights).sum().backward()
    parts = [p.grad.numpy().astype("float64").ravel() for p in network.parameters() if p.grad is not None]
    return scores.numpy().astype("float64"), np.concatenate(parts)


def first_unit(network: nn.Layer) -> nn.Layer:
    """Return the first unit of MobileNetV2's fourth stage, which has four."""
    stage = [layer for layer in network.sublayers() if isinstance(layer, InvresiBlocks)][3]
    return next(iter(stage.children()))


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", NETWORKS)
def test_errors_against_float64_are_at_most_twice_those_of_paddlepaddle(name, native_on):
    logits = {"on": 0.0, "off": 0.0}
    slopes = {"on": 0.0, "off": 0.0}
    for seed in range(3):
        images = paddle.to_tensor(np.random.default_rng(seed).standard_normal((4, 3, 64, 64), dtype=np.float32))
        native.set_mode("off")
        exact_logits, _ = gradients(in_float64(build(name, seed)), images.astype("float64"))
        linear = in_float64(without_activations(build(name, seed)))
        _, exact_slopes = gradients(linear, images.astype("float64"))
        for mode in ("on", "off"):
            native.set_mode(mode)
            logits[mode] += error(gradients(build(name, seed), images)[0], exact_logits)
            slopes[mode] += error(gradients(without_activations(build(name, seed)), images)[1], exact_slopes)
    assert logits["on"] <= 2 * logits["off"]
    assert slopes["on"] <= 2 * slopes["off"]


@pytest.mark.parametrize("name", [*NETWORKS[:3], "RepVGG_A0", "EfficientNetB0"])
def test_two_runs_are_bit_identical(name, native_on):
    images = paddle.to_tensor(np.random.default_rng(0).standard_normal((4, 3, 48, 48), dtype=np.float32))
    first, second = gradients(build(name), images), gradients(build(name), images)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_matches_paddlepaddle(name, native_on):
    network, images = build(name), paddle.randn([3, 3, 64, 64])
    network.eval()
    scores = {}
    for mode in ("on", "off"):
        native.set_mode(mode)
        with paddle.no_grad():
            scores[mode] = network(images).numpy()
    np.testing.assert_allclose(scores["on"], scores["off"], rtol=1e-4, atol=1e-5 * np.abs(scores["off"]).max())


def test_evaluation_with_gradients_does_not_change_the_running_statistics(native_on):
    network = build(NETWORKS[0])
    network.eval()
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    images = paddle.randn([2, 3, 32, 32])
    images.stop_gradient = False
    network(images).sum().backward()
    assert images.grad is not None
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())


def test_parameter_names_are_those_of_paddlepaddles_layers():
    with paddle.utils.unique_name.guard():
        ours = ppzoo.create_model("ResNet18", class_num=10)
    names = [parameter.name for parameter in ours.parameters()]
    assert names[:3] == ["conv2d_0.w_0", "batch_norm_0.w_0", "batch_norm_0.b_0"]


def test_static_program_has_no_native_operators(native_on, tmp_path):
    network = build(NETWORKS[0])
    network.eval()
    spec = paddle.static.InputSpec([None, 3, 32, 32], "float32")
    paddle.jit.save(network, str(tmp_path / "net"), input_spec=[spec])
    assert b"ppzoo_" not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".pdiparams")
    images = paddle.randn([2, 3, 32, 32])
    with paddle.no_grad():
        expected = network(images).numpy()
        found = paddle.jit.load(str(tmp_path / "net"))(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_other_types_than_float32_use_paddlepaddles_operators(native_on):
    x = paddle.randn([1, 1, 2, 2])
    assert native.supports(x)
    assert not native.supports(x.astype("float64"))


def test_hooks_on_fused_layers_are_called(native_on):
    network, seen = build("MobileNetV2_x0_25"), []
    unit = network.sublayers()[[type(layer).__name__ for layer in network.sublayers()].index("InvertedResidualUnit")]
    for name, layer in unit.named_sublayers():
        layer.register_forward_post_hook(lambda layer, inputs, output, name=name: seen.append(name))
    network(paddle.randn([2, 3, 32, 32]))
    assert sorted(seen) == sorted(name for name, _ in unit.named_sublayers())


def test_units_of_a_stage_compute_the_same_one_by_one(native_on):
    """A stage is not one operator, because a hook on one unit can read its output and use its gradient."""
    images, outputs, networks = paddle.randn([4, 3, 64, 48]), [], []
    for seen in (None, []):
        network = build("MobileNetV2_x0_25")
        if seen is not None:
            first_unit(network).register_forward_post_hook(lambda layer, inputs, output, seen=seen: seen.append(output))
        outputs.append(gradients(network, images))
        networks.append(network)
    scores, expected = outputs
    assert seen and seen[0].shape[0] == 4
    assert all(np.array_equal(x, y) for x, y in zip(scores, expected, strict=True))
    for one, other in zip(networks[0].state_dict().values(), networks[1].state_dict().values(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy())  # the running statistics, too


def test_gradient_of_a_feature_map_within_a_stage(native_on):
    network, seen = build("MobileNetV2_x0_25"), []
    network.train()
    first_unit(network).register_forward_post_hook(lambda layer, inputs, output: seen.append(output))
    loss = network(paddle.randn([4, 3, 64, 64])).square().sum()
    (gradient,) = paddle.grad([loss], [seen[0]])
    assert float(gradient.abs().sum()) > 0


UNITS = {
    "MobileNetV3": lambda: ResidualUnit(16, 24, 16, Block(5, 24, 16, True, "hardswish", 1)),
    "EfficientNet": lambda: MbConvBlock(
        *(16, 16, 5),
        expansion=2,
        stride=1,
        padding=2,
        use_se=True,
        act="swish",
        drop_rate=0.0,
        name="x",
    ),
}


def outputs_in_training(unit: nn.Layer, height: int = 9) -> tuple[list[np.ndarray], set[str]]:
    """Return the output, all gradients and running statistics of a unit, and the names of its operators."""
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal((3, 16, height, 7), dtype=np.float32))
    x.stop_gradient = False
    y = unit(x)
    names = {_operator_name(node) for node in _walk([y.grad_fn])}
    y.square().sum().backward()
    gradients = [parameter.grad.numpy() for parameter in unit.parameters() if not parameter.stop_gradient]
    found = [y.numpy(), x.grad.numpy(), *gradients]
    return found + [value.numpy() for value in unit.state_dict().values()], names


def add_hook(layer: nn.Layer) -> None:
    layer.register_forward_post_hook(lambda layer, inputs, output: output * 2)


def no_change(unit: nn.Layer) -> None:
    """Leave a unit unchanged."""


def outputs_in_both_modes(
    build: Callable[[], nn.Layer], change: Callable[[nn.Layer], object], height: int = 9
) -> tuple[list[tuple[np.ndarray, np.ndarray]], set[str]]:
    """Return `outputs_in_training` with and without native operators, and the names of the native operators."""
    found, names = {}, {}
    for mode in ("on", "off"):
        native.set_mode(mode)
        paddle.seed(3)
        with paddle.utils.unique_name.guard():
            unit = build()
        unit.train()
        change(unit)
        found[mode], names[mode] = outputs_in_training(unit, height)
    return list(zip(*found.values(), strict=True)), names["on"]


def squeeze_excite_of(unit: nn.Layer) -> layers.ConvSqueezeExcite:
    return next(layer for layer in unit.sublayers() if isinstance(layer, layers.ConvSqueezeExcite))


# Changes of a unit after which it is not one operator.
CHANGED_UNITS = {
    "hook of squeeze-and-excitation": lambda unit: add_hook(squeeze_excite_of(unit)),
    "hook of a layer in it": lambda unit: add_hook(squeeze_excite_of(unit).convolutions[1]),
    "hook of its gate": lambda unit: add_hook(squeeze_excite_of(unit).gate),
    "hook of a convolution": lambda unit: add_hook(next(u for u in unit.sublayers() if isinstance(u, nn.Conv2D))),
    "another gate": lambda unit: setattr(squeeze_excite_of(unit), "gate", nn.Tanh()),
    "another activation": lambda unit: setattr(squeeze_excite_of(unit), "act", nn.GELU()),
    "another pooling": lambda unit: setattr(squeeze_excite_of(unit), "pool", nn.AdaptiveMaxPool2D(1)),
    "no bias": lambda unit: setattr(squeeze_excite_of(unit).convolutions[0], "bias", None),
}


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("change", [None, *CHANGED_UNITS])
def test_unit_with_squeeze_excite_computes_the_same_as_without_native_operators(kind, change, native_on):
    results, names = outputs_in_both_modes(UNITS[kind], CHANGED_UNITS.get(change, no_change))
    assert ("inverted_residual_se" in names) == (change is None)
    for ours, theirs in results:
        scale = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5 * scale)


def separable_blocks(**options) -> layers.SeparableBlocks:
    """Return two blocks of PP-LCNet with a stride of 2."""
    first = DepthwiseSeparable(16, 24, Row(3, 24, 2), stride=(2, 1), act="hardswish", lr_mult=1.0)
    second = DepthwiseSeparable(24, 24, Row(3, 24, 2), stride=(2, 2), act="relu", lr_mult=1.0)
    for block, channels in ((first, 16), (second, 24)) if options else ():
        block.dw_conv = layers.KaimingConvBNLayer(channels, channels, 3, stride=2, groups=channels, **options)
    return layers.SeparableBlocks(first, second)


def squeeze_excite(channels: int) -> layers.ConvSqueezeExcite:
    return layers.ConvSqueezeExcite(channels, 4, act=nn.ReLU(), gate=nn.Hardsigmoid())


# Changes of a sequence, and whether an operator computes several of its convolutions afterwards.
CHANGED_SEQUENCES = {
    "hooks of the convolutions": (add_hook, nn.Conv2D, False),
    "hooks of the norms": (add_hook, layers.BatchNorm, False),
    "frozen statistics": (lambda layer: setattr(layer, "_use_global_stats", True), layers.BatchNorm, False),
    "hooks of the blocks": (add_hook, DepthwiseSeparable, True),
    "squeeze-and-excitation": (
        lambda block: setattr(block, "se", squeeze_excite(block.dw_conv.conv.weight.shape[0])),
        DepthwiseSeparable,
        False,
    ),
}


@pytest.mark.parametrize("options", [{}, {"padding": "SAME"}], ids=str)
@pytest.mark.parametrize("change", [None, *CHANGED_SEQUENCES])
def test_sequence_of_convolutions_computes_the_same_as_without_native_operators(options, change, native_on):
    apply, layer_kind, is_one_operator = CHANGED_SEQUENCES.get(change, (add_hook, (), True))

    def change_layers(unit):
        for layer in unit.sublayers():
            if isinstance(layer, layer_kind):
                apply(layer)

    results, names = outputs_in_both_modes(lambda: separable_blocks(**options), change_layers, height=10)
    assert ("conv_norm_sequence" in names) == is_one_operator
    for ours, theirs in results:
        scale = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5 * scale)


def test_without_one_fusable_block_the_others_are_one_operator_each(native_on):
    blocks = separable_blocks()
    add_hook(blocks[0].dw_conv)
    _, names = outputs_in_training(blocks)
    assert {"conv_norm", "conv_norm_sequence"} <= names


def test_no_blocks_return_the_images(native_on):
    images = paddle.randn([2, 16, 6, 6])
    assert layers.SeparableBlocks()(images) is images


@pytest.mark.parametrize("kind", ["PPLCNet", "MobileNetV2"])
def test_replaced_block_is_called(kind, native_on):
    residuals = {"expansion": 2, "repeats": 2, "stride": 1, "name": "x", "data_format": "NCHW"}
    stage = separable_blocks() if kind == "PPLCNet" else InvresiBlocks(16, 16, **residuals)
    images = paddle.randn([3, 16, 9, 7])
    first, second = list(stage.named_children())
    expected = first[1](images)
    stage.add_sublayer(second[0], nn.ReLU())
    np.testing.assert_allclose(stage(images).numpy(), nn.functional.relu(expected).numpy(), rtol=1e-5, atol=1e-5)


def repvgg_block(channels: int = 8, stride: int = 1, **options) -> RepVGGBlock:
    paddle.seed(2)
    return RepVGGBlock(8, channels, stride=stride, **{"groups": 1, "squeeze_excite": False, **options})


@pytest.fixture
def fused_calls(monkeypatch, native_on) -> list:
    """The calls of the operator for a whole block of RepVGG."""
    calls, compute = [], operators.repvgg_block
    monkeypatch.setattr(operators, "repvgg_block", lambda *args: calls.append(args) or compute(*args))
    return calls


@pytest.mark.parametrize(("channels", "stride"), [(8, 1), (16, 1), (16, 2), (8, 2)])
def test_block_of_repvgg_in_training_is_one_operator(channels, stride, fused_calls):
    found = {}
    for mode in ("on", "off"):
        native.set_mode(mode)
        block, x = repvgg_block(channels, stride), paddle.randn([3, 8, 9, 7])
        outputs = [block(x).numpy() for _ in range(2)]
        found[mode] = [*outputs, *(value.numpy() for value in block.state_dict().values())]
    assert len(fused_calls) == 2
    for ours, theirs in zip(*found.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


# Changes of a block after which it is not one operator.
NOT_ONE_OPERATOR = {
    "evaluation": lambda block: block.eval(),
    "fused branches": lambda block: block.fuse(),
    "another activation": lambda block: setattr(block, "nonlinearity", nn.GELU()),
    "frozen statistics": lambda block: setattr(block.rbr_1x1.bn, "_use_global_stats", True),
    "frozen statistics of the identity": lambda block: setattr(block.rbr_identity, "_use_global_stats", True),
    "hook of a branch": lambda block: add_hook(block.rbr_dense),
    "hook of a convolution": lambda block: add_hook(block.rbr_1x1.conv),
    "hook of the identity": lambda block: add_hook(block.rbr_identity),
}


@pytest.mark.parametrize("name", NOT_ONE_OPERATOR)
def test_changed_block_of_repvgg_computes_the_same_as_without_native_operators(name, fused_calls):
    found = {}
    for mode in ("on", "off"):
        native.set_mode(mode)
        block = repvgg_block()
        NOT_ONE_OPERATOR[name](block)
        found[mode] = block(paddle.randn([3, 8, 9, 7])).numpy()
    assert not fused_calls
    np.testing.assert_allclose(found["on"], found["off"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"groups": 2}, {"squeeze_excite": True}], ids=str)
@pytest.mark.parametrize("images", [1, 3])
def test_other_blocks_of_repvgg_are_not_one_operator(images, options, fused_calls):
    block = RepVGGBlock(16, 16, stride=1, **{"groups": 1, "squeeze_excite": False, **options})
    assert np.isfinite(block(paddle.randn([images, 16, 9, 7])).numpy()).all()
    repvgg_block()(paddle.randn([1, 8, 9, 7]))  # one image
    assert not fused_calls


@pytest.mark.parametrize("full_graph", [True, False])
def test_to_static_uses_paddlepaddles_operators(native_on, full_graph):
    network, images = build(NETWORKS[0]), paddle.randn([2, 3, 32, 32])
    network.eval()
    with paddle.no_grad():
        expected = network(images).numpy()
        found = paddle.jit.to_static(network, full_graph=full_graph)(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_forked_process_computes_the_same_as_its_parent(native_on):
    network, images = build(NETWORKS[0]), paddle.randn([8, 3, 32, 32])
    network.eval()
    with paddle.no_grad():
        expected = network(images).numpy()

    def child():
        with paddle.no_grad():
            same = np.array_equal(network(images).numpy(), expected)
        network.train()
        network(images).sum().backward()
        return same

    assert succeeds_when_forked(child)
