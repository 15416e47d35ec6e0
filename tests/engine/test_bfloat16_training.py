"""Runs with `AMP: {dtype: bfloat16}` on the CPU: determinism, resuming, and the networks that use float32 instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml
from helpers.small_runs import NORMALIZE, paint_class_folders, small_config

import ppzoo
from ppzoo import layers, native
from ppzoo.cli import main
from ppzoo.host import instruction_sets
from ppzoo.weights import read_pdparams

needs_bfloat16 = pytest.mark.skipif("avx512_bf16" not in instruction_sets().split(), reason="needs AVX-512 BF16")


def configuration(folder: Path, arch: str, **options: Any) -> dict[str, Any]:
    """Return a small configuration in bfloat16; the last batch of an epoch has a single image."""
    paint_class_folders(folder / "images", count=3)
    config = small_config(folder, arch, ops=[{"DecodeImage": {}}, {"ResizeImage": {"size": 64}}, NORMALIZE])
    config["Global"] |= {"native": "on", "eval_during_train": False, **options}
    config["AMP"] = {"use_amp": True, "dtype": "bfloat16"}
    return config


def train(folder: Path, config: dict[str, Any], *options: str) -> dict[str, np.ndarray]:
    """Train, and return the weights."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    assert main(["train", "-c", str(file), *options]) == 0
    folder = Path(config["Global"]["output_dir"]) / config["Arch"]["name"]
    return read_pdparams(folder / "latest.pdparams")


def assert_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def log_of(folder: Path) -> str:
    return next((folder / "output").glob("*/train.log")).read_text()


@needs_bfloat16
@pytest.mark.parametrize(
    "arch",
    [
        *("ResNet18", "MobileNetV1_x0_5", "MobileNetV2_x0_5", "MobileNetV3_small_x0_75", "SENet18_cifar"),
        *("EfficientNetB0", "ShuffleNetV2_x0_5"),
    ],
)
def test_resumed_run_in_bfloat16_is_bit_identical(arch, tmp_path, monkeypatch):
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    config = configuration(tmp_path, arch, epochs=2)
    complete = train(tmp_path, config)
    assert "AMP: training in bfloat16 with native CPU operators; evaluation uses float32" in log_of(tmp_path)
    assert all(value.dtype == np.float32 for value in complete.values() if value.ndim)
    config["Global"] |= {"output_dir": str(tmp_path / "resumed"), "epochs": 1}
    train(tmp_path, config)
    config["Global"]["epochs"] = 2
    resumed = train(tmp_path, config, "-o", "Global.checkpoints=" + str(tmp_path / "resumed" / arch / "latest"))
    assert_equal(resumed, complete)


@needs_bfloat16
def test_network_with_another_operator_trains_in_float32(tmp_path, monkeypatch):
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    train(tmp_path, configuration(tmp_path, "MobileNetV2_x0_25"))
    expected = (
        "AMP: using float32: bfloat16 is not available for MobileNetV2_x0_25 on the CPU: grouped convolutions,"
        " and depthwise ones below 16 channels, are slow in bfloat16\n"
    )
    assert expected in log_of(tmp_path)


SLOW = "grouped convolutions, and depthwise ones below 16 channels, are slow in bfloat16"
OBSTACLES = {
    "ResNet18": None,
    "RepVGG_A0": None,
    "ResNet50": None,
    "ResNet34_vd": None,
    "MobileNetV1": None,
    "MobileNetV2_x0_5": None,
    "MobileNetV1_x0_25": SLOW,
    "SE_ResNeXt50_32x4d": SLOW,
    "MobileNetV3_small_x1_0": None,
    "MobileNetV4_conv_small": None,
    "PPLCNet_x1_0": None,
    "EfficientNetB0": None,
    "SqueezeNet1_1": "its output is not that of a linear layer",
    "DenseNet121": None,
    "ShuffleNetV2_x0_5": None,
    "PPHGNetV2_B0": None,
    "PPHGNet_tiny": "these operators have no bfloat16 version: Reshape, Sigmoid, scale_channels",
    "SE_ResNet18_vd": None,
    "VGG11": None,
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_bfloat16_is_used_only_for_networks_whose_operators_support_it(name, monkeypatch):
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    native.set_mode("on")
    network = ppzoo.create_model(name, class_num=10)
    network.eval()
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    generator = [state.current_seed() for state in paddle.get_rng_state()]
    found = layers.find_network_bfloat16_obstacle(network, [3, 224, 224] if name == "VGG11" else [3, 64, 64])
    native.set_mode("off")
    if OBSTACLES[name] is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(OBSTACLES[name])
    assert not network.training
    assert [state.current_seed() for state in paddle.get_rng_state()] == generator
    assert_equal(before, {key: value.numpy() for key, value in network.state_dict().items()})


@pytest.mark.parametrize("arch", ["MobileNetV2_x0_5", "PPLCNet_x1_0"])
def test_depthwise_convolutions_of_small_images_use_float32(arch, monkeypatch):
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    native.set_mode("on")
    network = ppzoo.create_model(arch, class_num=10)
    found = layers.find_network_bfloat16_obstacle(network, [3, 63, 64])
    native.set_mode("off")
    assert found == "depthwise convolutions are faster in float32 for images below 64 pixels"


def test_paddlepaddles_operators_are_named(monkeypatch):
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    native.set_mode("on")
    network = ppzoo.create_model("ResNet18", class_num=10)
    activation = network.stem[0].act
    activation.forward = lambda x: paddle.nn.functional.gelu(x)
    found = layers.find_network_bfloat16_obstacle(network, [3, 64, 64])
    native.set_mode("off")
    assert found == "these operators have no bfloat16 version: Gelu"


@needs_bfloat16
def test_activations_of_paddlepaddle_are_only_possible_after_a_global_pooling(monkeypatch):
    """PaddlePaddle's ReLU cannot compute in bfloat16 on a CPU."""
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    native.set_mode("on")

    def network(size):
        head = [paddle.nn.ReLU(), paddle.nn.Flatten(), layers.Linear(16 * size * size, 10)]
        return paddle.nn.Sequential(layers.ConvBNLayer(3, 16, 3), layers.AdaptiveAvgPool2D(size), *head)

    found = [layers.find_network_bfloat16_obstacle(network(size), [3, 32, 32]) for size in (1, 2)]
    native.set_mode("off")
    assert found == [None, "one of its operators cannot compute in bfloat16"]


def test_processors_without_bfloat16_and_other_operators_are_named(monkeypatch):
    monkeypatch.delenv(native.MODE_VARIABLE, raising=False)
    native.set_mode("on")
    monkeypatch.setattr(native, "instruction_sets", lambda: "avx2 fma avx512f")
    assert native.find_native_bfloat16_obstacle() == "this processor has no bfloat16 instructions (AVX-512 BF16)"
    native.set_mode("off")
    assert "needs the native operators" in str(native.find_native_bfloat16_obstacle())
