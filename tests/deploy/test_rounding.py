"""A badly conditioned network is exported and evaluated; a wrong program is still refused."""

import numpy as np
import paddle
import pytest

import ppzoo
from ppzoo import deploy, native
from ppzoo.deploy import eval_via_export, export
from ppzoo.deploy.paddle_engine import InferenceProgram
from ppzoo.deploy.rounding import float64_function, is_rounding, output_function
from ppzoo.errors import TrainingError

SETTINGS = {
    "PreProcess": {"transform_ops": [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]},
    "PostProcess": {"Topk": {"topk": 1, "label_list": [str(index) for index in range(10)]}},
}


@pytest.fixture(autouse=True)
def paddle_operators(monkeypatch):
    monkeypatch.setenv("PPZOO_NATIVE", "off")
    native.set_mode()


def badly_conditioned():
    """Return a network with channels near 1000 that differ little: float32 rounds most of the difference away."""
    paddle.seed(0)
    layers = paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.Flatten(), paddle.nn.Linear(4 * 36, 10)
    network = paddle.nn.Sequential(*layers)
    convolution, norm = layers[:2]
    convolution.weight.set_value(0.01 * convolution.weight)
    convolution.bias.set_value(paddle.full([4], 1000.0))
    norm._mean.set_value(paddle.full([4], 1000.0))
    norm._variance.set_value(paddle.full([4], 1e-4))
    network.eval()
    return network


def trained(steps, rate):
    """Return a MobileNetV2 after so few steps that its batch statistics are poor."""
    paddle.seed(0)
    network = ppzoo.create_model("MobileNetV2_x0_25", class_num=10)
    optimizer = paddle.optimizer.Momentum(rate, parameters=network.parameters())
    random = np.random.default_rng(0)
    for _ in range(steps):
        images = paddle.to_tensor((random.standard_normal((4, 3, 32, 32)) + 1).astype("float32"))
        labels = paddle.to_tensor(random.integers(0, 10, 4))
        paddle.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
    network.eval()
    return network


@pytest.mark.parametrize(("steps", "rate"), [(1, 0.1), (3, 0.1)])
def test_networks_after_a_short_training_are_exported(tmp_path, steps, rate):
    export(trained(steps, rate), tmp_path / "inference", [3, 32, 32], SETTINGS)
    ppzoo.Predictor(tmp_path / "inference", engine="paddle").predict(np.zeros((32, 32, 3), np.uint8))


def test_the_difference_of_a_badly_conditioned_network_is_logged(tmp_path, caplog):
    with caplog.at_level("WARNING", logger="ppzoo"):
        difference = export(badly_conditioned(), tmp_path / "inference", [3, 8, 8], SETTINGS)
    assert difference > 1e-4
    (record,) = caplog.records
    assert record.getMessage().startswith("the network is badly conditioned: float32 rounding changes its outputs")


WRONG = {0.5: "the exported program differs from the network by", np.inf: "a random image is inf, expected finite"}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_program_of_a_badly_conditioned_network_is_refused(tmp_path, monkeypatch, wrong):
    compute = InferenceProgram.__call__
    add = np.float32(wrong)
    monkeypatch.setattr(InferenceProgram, "__call__", lambda *given: [array + add for array in compute(*given)])
    with pytest.raises(TrainingError, match=WRONG[wrong]):
        export(badly_conditioned(), tmp_path / "inference", [3, 8, 8], SETTINGS)
    assert not (tmp_path / "inference").exists()


def test_float64_reveals_the_error_of_float32():
    network = badly_conditioned()
    images = np.random.default_rng(0).standard_normal((8, 3, 8, 8), dtype=np.float32)
    (exact,) = float64_function(network)(images)
    (rounded,) = output_function(network)(images)
    assert exact.dtype == np.float64 and network.parameters()[0].dtype == paddle.float32
    assert 1e-4 < np.abs(exact - rounded).max() < 0.1
    assert is_rounding(network, float64_function(network), images, 1e-5)
    assert not is_rounding(
        network, lambda batch: [output + 1 for output in output_function(network)(batch)], images, 1e-5
    )
    assert is_rounding(network, output_function(network), images, 0.0)


def test_a_badly_conditioned_network_is_evaluated_via_its_export(monkeypatch):
    monkeypatch.setattr(eval_via_export, "RELATIVE_TOLERANCE", 1e-12)  # as if it were worse conditioned
    network = trained(3, 0.1)
    fast = deploy.accelerate_eval(network)
    fast.eval()
    deploy.export_if_worthwhile(fast, eval_via_export.MIN_IMAGES, paddle.randn([9, 3, 32, 32]))
    assert fast._programs
