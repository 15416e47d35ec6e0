"""PP-LCNet to ESNet beyond PaddleClas's fixtures: options, fusing, drop path, attention, native operators."""

import numpy as np
import paddle
import pytest
from helpers import reference

from ppzoo import deploy, native
from ppzoo.errors import ConfigError, TrainingError, WeightsError
from ppzoo.layers import StochasticDepth
from ppzoo.models import MODELS
from ppzoo.models.mobilenet_v4 import Attention, MobileAttention
from ppzoo.models.pp_hgnet_v2 import LearnableAffineBlock
from ppzoo.weights import load_weights

SMALL = [
    "ESNet_x0_25",
    "FasterNet_T0",
    "GhostNet_x0_5",
    "MobileNetV4_conv_small",
    "MobileNetV4_hybrid_medium",
    "PPHGNetV2_B0",
    "PPHGNet_tiny",
    "PPLCNetV2_small",
    "PPLCNet_x0_25",
    "RepVGG_A0",
    "StarNet_S1",
]
# Kernels are multiplied by these, as in the fixtures, so that rounding is not magnified.
LARGE_REPVGG = ["A1", "A2", "B0", "B1", "B1g2", "B1g4", "B2", "B2g4", "B3", "B3g4", "D2se"]
GAINS = {"ESNet_x0_25": 1.1, "PPLCNet_x0_25": 1.4, "RepVGG_A0": 0.85, "RepVGG_D2se": 0.7, "StarNet_S1": 0.5}


def build(name: str, **options):
    network = MODELS[name].build(class_num=7, **options)
    reference.fill_network(network, GAINS.get(name, 1.0))
    network.eval()
    return network


def logits(network, size: int = 64, batch: int = 2) -> np.ndarray:
    with paddle.no_grad():
        return network(paddle.to_tensor(reference.image(batch, size, 0))).numpy()


def relative_difference(value, expected) -> float:
    return float(np.abs(value - expected).max() / np.abs(expected).max())


@pytest.fixture
def native_operators():
    yield
    native.set_mode("off")


@pytest.mark.parametrize("name", SMALL)
def test_native_operators_agree_with_paddlepaddle(name, native_operators):
    network = build(name)
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    outputs = {}
    for mode in ("off", "on"):
        native.set_mode(mode)
        network.set_state_dict(state)
        network.eval()
        evaluated = logits(network)
        network.train()
        outputs[mode] = evaluated, logits(network, batch=4)
    assert relative_difference(outputs["on"][0], outputs["off"][0]) <= 1e-4
    assert relative_difference(outputs["on"][1], outputs["off"][1]) <= 1e-3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PPLCNetV2_small", {}),
        ("RepVGG_A0", {}),
        *[pytest.param(f"RepVGG_{variant}", {}, marks=pytest.mark.slow) for variant in LARGE_REPVGG],
        *[pytest.param(f"PPLCNetV2_{variant}", {}, marks=pytest.mark.slow) for variant in ("base", "large")],
        ("ResNet18", {"layer_type": "DiverseBranchBlock"}),
    ],
)
def test_fused_network_has_the_same_outputs_and_fewer_entries(name, options):
    network = build(name, **options)
    expected, entries = logits(network), set(network.state_dict())
    assert network.fuse() is network
    fused = network.state_dict()
    names = [value.name for value in fused.values()]
    assert relative_difference(logits(network), expected) <= 1e-5
    assert len(fused) < len(entries) and len(set(names)) == len(names)
    network.fuse()
    assert set(network.state_dict()) == set(fused)


def test_fusing_changes_no_other_network():
    network = build("PPLCNet_x0_25")
    entries = list(network.state_dict())
    assert list(network.fuse().state_dict()) == entries


def test_export_is_fused_and_compared_with_the_branches(tmp_path):
    network = build("PPLCNetV2_small")
    expected = logits(network)
    settings = {
        "PreProcess": {"transform_ops": []},
        "PostProcess": {"Topk": {"topk": 1, "label_list": list("abcdefg")}},
    }
    assert deploy.export(network, tmp_path / "export", [3, 64, 64], settings) <= 1e-5
    saved = paddle.jit.load(str(tmp_path / "export" / "inference")).state_dict()
    assert len(saved) == len(network.state_dict()) and not any("dw_conv_list" in key for key in network.state_dict())
    assert relative_difference(logits(network), expected) <= 1e-5


def test_a_wrong_fusion_is_not_exported(tmp_path, monkeypatch):
    """The comparison with float64 uses the branches, not the fused network, which is wrong in float64, too."""
    network = build("PPLCNetV2_small")
    original = type(network).fuse

    def damage(self):
        original(self)
        with paddle.no_grad():
            for parameter in self.parameters():
                parameter.set_value(parameter * 1.3)
        return self

    monkeypatch.setattr(type(network), "fuse", damage)
    settings = {
        "PreProcess": {"transform_ops": []},
        "PostProcess": {"Topk": {"topk": 1, "label_list": list("abcdefg")}},
    }
    with pytest.raises(TrainingError, match="the exported program differs from the network"):
        deploy.export(network, tmp_path / "export", [3, 64, 64], settings)
    assert not (tmp_path / "export").exists()


def test_repvgg_files_with_a_fused_convolution_are_loaded():
    network, other = build("RepVGG_A0"), MODELS["RepVGG_A0"].build(class_num=7)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    derived = {"stage0.rbr_reparam.weight": np.ones((48, 3, 3, 3), "float32")}
    assert load_weights(other, {**state, **derived}).complete
    np.testing.assert_array_equal(other.linear.weight.numpy(), network.linear.weight.numpy())
    with pytest.raises(WeightsError, match="unexpected"):
        load_weights(other, {**state, "stage0.rbr_other.weight": derived["stage0.rbr_reparam.weight"]})


@pytest.mark.parametrize(
    ("name", "options"),
    [("RepVGG_A0", {}), ("PPLCNetV2_small", {}), ("ResNet18", {"layer_type": "DiverseBranchBlock"})],
)
def test_fused_weights_are_refused_with_the_function_to_call(name, options):
    fused = {key: value.numpy() for key, value in build(name, **options).fuse().state_dict().items()}
    network = build(name, **options)
    expected = f"the given arrays: expected the weights of {name} before fuse(), got fused ones"
    with pytest.raises(WeightsError) as caught:
        load_weights(network, fused)
    assert str(caught.value) == f"{expected}; call network.fuse() before loading them" and caught.value.line == expected
    assert load_weights(network.fuse(), fused).complete
    del fused["fc.bias" if name != "RepVGG_A0" else "linear.bias"]
    with pytest.raises(WeightsError, match="1 missing"):
        load_weights(network, fused)


def test_pp_lcnet_strides_of_text_lines():
    strides = [2, [2, 1], [2, 1], [2, 1], [2, 1]]
    network = MODELS["PPLCNet_x1_0"].build(class_num=2, stride_list=strides, use_last_conv=False)
    network.eval()
    with paddle.no_grad():
        images = paddle.zeros([1, 3, 80, 160])
        assert network.forward_features(images).shape == [1, 512, 3, 80]
        assert network(images).shape == [1, 2]
    assert not [key for key in network.state_dict() if key.startswith("last_conv")]


@pytest.mark.parametrize(
    ("name", "count", "layers"),
    [
        ("PPLCNet_x0_25", 6, ["conv1", "blocks2", "blocks3", "blocks4", "blocks5", "blocks6"]),
        ("PPHGNetV2_B0", 5, ["stem", "stages.0", "stages.1", "stages.2", "stages.3"]),
    ],
)
def test_learning_rate_factors_of_stages(name, count, layers):
    factors = [0.0, 0.4, 0.4, 0.8, 0.9, 1.0][:count]
    parameters = dict(MODELS[name].build(lr_mult_list=factors).named_parameters())
    for layer, factor in zip(layers, factors, strict=True):
        found = {
            value.optimize_attr["learning_rate"]
            for key, value in parameters.items()
            if key.startswith(f"{layer}.") and not value.stop_gradient and ".lab." not in key
        }
        assert found == {factor}, layer
    with pytest.raises(ConfigError, match=f"lr_mult_list: expected a list of {count} values, got "):
        MODELS[name].build(lr_mult_list=[1.0])


def test_affine_blocks_are_trained_with_a_hundredth_of_the_rate():
    network = MODELS["PPHGNetV2_B0"].build()
    blocks = [layer for layer in network.sublayers() if isinstance(layer, LearnableAffineBlock)]
    assert len(blocks) == 31
    assert {value.optimize_attr["learning_rate"] for block in blocks for value in block.parameters()} == {0.01}
    assert not any(isinstance(layer, LearnableAffineBlock) for layer in MODELS["PPHGNetV2_B4"].build().sublayers())


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "PPHGNet_tiny", "GhostNet_x0_5", "ESNet_x0_25"])
def test_batch_norms_have_no_weight_decay(name):
    for layer in MODELS[name].build().sublayers():
        if isinstance(layer, paddle.nn.BatchNorm):
            assert layer.weight.regularizer is not None and layer.weight.regularizer._coeff == 0.0


@pytest.mark.parametrize("mode", ["on", "off"])
def test_stochastic_depth_scales_the_branch_of_the_images_that_do_not_skip_it(mode, native_operators):
    native.set_mode(mode)
    paddle.seed(0)
    layer, shortcut, branch = StochasticDepth(0.25), paddle.full([400, 2, 1, 1], 3.0), paddle.ones([400, 2, 1, 1])
    y = layer(shortcut, branch).numpy()
    assert np.unique(y) == pytest.approx([3, 3 + 1 / 0.75])
    assert (y[:, 0] == y[:, 1]).all() and 0.15 < (y[:, 0] == 3).mean() < 0.35
    layer.eval()
    assert (layer(shortcut, branch).numpy() == 4).all()


@pytest.mark.parametrize(
    ("name", "options", "last"),
    [
        ("FasterNet_S", {}, 0.1),
        ("StarNet_S1", {"drop_path_rate": 0.3}, 0.3),
        ("MobileNetV4_conv_small", {"drop_path_rate": 0.17}, 0.15),
    ],
)
def test_drop_path_rate_grows_with_the_depth(name, options, last):
    rates = [layer.rate for layer in MODELS[name].build(**options).sublayers() if isinstance(layer, StochasticDepth)]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(last)
    layers = [layer for layer in MODELS["StarNet_S1"].build().sublayers() if isinstance(layer, StochasticDepth)]
    assert {layer.rate for layer in layers} == {0}


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_drop_path_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ConfigError, match="drop_path_rate: expected a rate of at least 0 and below 1"):
        MODELS["StarNet_S1"].build(drop_path_rate=rate)


@pytest.mark.parametrize(("stride", "size"), [(1, 6), (2, 6), (2, 7)])
def test_attention_is_that_of_its_definition(stride, size):
    with paddle.utils.unique_name.guard():
        block = MobileAttention(Attention(12, 3, 4, stride), layer_scale=1.0, drop_path_rate=0.0)
    reference.fill_network(block)
    block.eval()
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 12, size, size), dtype=np.float32))
    with paddle.no_grad():
        y = block.norm(x)
        inputs = [block.key_down_proj(y), block.value_down_proj(y)] if stride == 2 else [y, y]
        k, v = (
            layer(map_).numpy().reshape(2, 4, -1)
            for layer, map_ in zip((block.key_proj, block.value_proj), inputs, strict=True)
        )
        q = block.query_proj(y).numpy().reshape(2, 3, 4, -1)
        mixed = np.zeros_like(q)
        for image, head in np.ndindex(2, 3):
            scores = q[image, head].T @ k[image] / np.sqrt(12)
            weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            mixed[image, head] = v[image] @ weights.T
        projected = block.proj(paddle.to_tensor(mixed.reshape(2, 12, size, size)))
        expected = x + projected * block.layer_scale.gamma.reshape([1, -1, 1, 1])
        np.testing.assert_allclose(block(x).numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("PPLCNet_x1_0", {4: 64, 8: 128, 16: 256, 32: 512}),
        ("PPLCNetV2_base", {4: 128, 8: 256, 16: 512, 32: 1024}),
        ("PPHGNetV2_B0", {4: 64, 8: 256, 16: 512, 32: 1024}),
        ("GhostNet_x1_0", {4: 24, 8: 40, 16: 112, 32: 160}),
        ("RepVGG_A0", {4: 48, 8: 96, 16: 192, 32: 1280}),
        ("MobileNetV4_conv_small", {4: 32, 8: 64, 16: 96, 32: 960}),
        ("StarNet_S1", {4: 24, 8: 48, 16: 96, 32: 192}),
        ("FasterNet_T0", {4: 40, 8: 80, 16: 160, 32: 320}),
        ("ESNet_x1_0", {4: 24, 8: 120, 16: 232, 32: 464}),
    ],
)
def test_features_have_the_channels_of_the_stages(name, channels):
    network = MODELS[name].build()
    network.eval()
    sublayers, maps = dict(network.named_sublayers()), {}
    for stride, path in network.feature_layers.items():
        sublayers[path].register_forward_post_hook(
            lambda _layer, _inputs, output, stride=stride: maps.update({stride: output.shape[1:]})
        )
    with paddle.no_grad():
        network(paddle.zeros([1, 3, 64, 64]))
    assert maps == {stride: [count, 64 // stride, 64 // stride] for stride, count in channels.items()}
