"""Optimizer steps equal PaddleClas's; decay, factors and clipping apply to the right parameters."""

import zlib

import numpy as np
import paddle
import pytest
from helpers import reference
from paddle import ParamAttr, nn

from ppzoo.errors import ConfigError, UnknownNameError
from ppzoo.optim import OPTIMIZERS, SCHEDULES


class Tiny(nn.Layer):
    """The network for which `fixtures/reference/optimizers.json` has PaddleClas's results."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(
            2, 3, 3, weight_attr=ParamAttr(name="tiny_conv_weights"), bias_attr=ParamAttr(name="tiny_conv_bias")
        )
        self.norm = nn.BatchNorm(
            3, param_attr=ParamAttr(name="tiny_norm_scale"), bias_attr=ParamAttr(name="tiny_norm_offset")
        )
        self.fc = nn.Linear(
            3, 2, weight_attr=ParamAttr(name="tiny_fc_weights"), bias_attr=ParamAttr(name="tiny_fc_bias")
        )


def values(kind, key, shape):
    random = np.random.RandomState(zlib.crc32(f"{kind}/{key}".encode()) & 0x7FFFFFFF)
    return random.normal(0, 1, shape).astype("float32")


def tiny():
    with paddle.utils.unique_name.guard():
        network = Tiny()
    for key, value in network.state_dict().items():
        value.set_value(values("start", key, value.shape))
    return network


def step(network, optimizer, number):
    for key, parameter in network.named_parameters():
        parameter.grad = paddle.to_tensor(values(f"gradient{number}", key, parameter.shape))
    optimizer.step()
    optimizer.clear_grad()


def build(network, config, epochs=3, steps=2):
    options = dict(config)
    schedule_options = dict(options.pop("lr", {"name": "Constant", "learning_rate": 0.1}))
    schedule = SCHEDULES[schedule_options.pop("name")](epochs, steps, **schedule_options)
    return OPTIMIZERS[options.pop("name")](**options).build(network, schedule), schedule


def after(config, steps=5, network=None):
    network = network or tiny()
    optimizer, schedule = build(network, config)
    for number in range(steps):
        step(network, optimizer, number)
        schedule.step()
    return {key: value.numpy() for key, value in network.state_dict().items()}


def assert_same(ours, expected, tolerance=1e-5):
    for key, value in ours.items():
        np.testing.assert_allclose(value.ravel(), np.ravel(expected[key]), rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("case", reference.read_json("optimizers.json"), ids=lambda case: case["optimizer"]["name"])
def test_five_steps_equal_paddleclas(case):
    assert_same(after(case["optimizer"]), case["after"])


# The first two steps by hand, for optimizers and options without reference values of PaddleClas.
START, FIRST, SECOND, RATE = 0.5, 2.0, -1.0, 0.1


def nesterov():
    v = FIRST
    w = START - RATE * (FIRST + 0.9 * v)
    v = 0.9 * v + SECOND
    return w - RATE * (SECOND + 0.9 * v)


def lasso():
    w = START - RATE * (FIRST + 0.3)
    return w - RATE * (SECOND + 0.3 * np.sign(w))


def adam(decay=0.0, decoupled=False):
    w, m, s = START, 0.0, 0.0
    for t, gradient in enumerate((FIRST, SECOND), 1):
        if decoupled:
            w *= 1 - RATE * decay
        else:
            gradient += decay * w
        m, s = 0.8 * m + 0.2 * gradient, 0.95 * s + 0.05 * gradient**2
        w -= RATE * (m / (1 - 0.8**t)) / (np.sqrt(s / (1 - 0.95**t)) + 1e-8)
    return w


def centered():
    w, mean, square, v = START, 0.0, 0.0, 0.0
    for gradient in (FIRST, SECOND):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.9 * square + 0.1 * gradient**2
        v = 0.5 * v + RATE * gradient / np.sqrt(square - mean**2 + 1e-3)
        w -= v
    return w


ADAM = {"beta1": 0.8, "beta2": 0.95}
BY_HAND = {
    "nesterov": ({"name": "Momentum", "momentum": 0.9, "use_nesterov": True}, nesterov()),
    "L1": ({"name": "SGD", "regularizer": {"name": "L1", "coeff": 0.3}}, lasso()),
    "Adam": ({"name": "Adam", **ADAM, "weight_decay": 0.2}, adam(0.2)),
    "AdamW": ({"name": "AdamW", **ADAM, "weight_decay": 0.2}, adam(0.2, decoupled=True)),
    "AdamWDL": ({"name": "AdamWDL", **ADAM, "weight_decay": 0.2, "layerwise_decay": 1.0}, adam(0.2, decoupled=True)),
    "centered": ({"name": "RMSProp", "momentum": 0.5, "rho": 0.9, "epsilon": 1e-3, "centered": True}, centered()),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_two_steps_by_hand(name):
    config, expected = BY_HAND[name]
    network = nn.Linear(1, 1)
    network.weight.set_value(np.full((1, 1), START, "float32"))
    optimizer, _ = build(network, config)
    for gradient in (FIRST, SECOND):
        network.weight.grad = paddle.full([1, 1], gradient)
        optimizer.step()
        optimizer.clear_grad()
    assert network.weight.item() == pytest.approx(expected, rel=1e-5)


PENALIZED = ["SGD", "Momentum", "RMSProp", "Adam"]


@pytest.mark.parametrize("name", [*PENALIZED, "AdamW", "AdamWDL"])
def test_parameters_exempt_by_name_or_dimension_are_not_decayed(name):
    rest = {"filter_bias_and_bn": False} if name == "AdamWDL" else {}
    free = after({"name": name, "weight_decay": 0.0})
    decayed = after({"name": name, "weight_decay": 0.3, **rest})
    exemption = {"no_weight_decay_name": "conv", "one_dim_param_no_weight_decay": True}
    exempt = after({"name": name, "weight_decay": 0.3, **exemption, **rest})
    for key, value in exempt.items():
        same_as = decayed if key == "fc.weight" else free
        np.testing.assert_allclose(value, same_as[key], atol=1e-6, err_msg=key)
    assert np.abs(decayed["conv.weight"] - free["conv.weight"]).max() > 1e-4


@pytest.mark.parametrize("name", PENALIZED)
def test_a_parameters_regularizer_takes_precedence(name):
    def run(own, decay):
        with paddle.utils.unique_name.guard():
            network = nn.Linear(2, 2, weight_attr=ParamAttr(regularizer=paddle.regularizer.L2Decay(own)))
        network.weight.set_value(np.ones((2, 2), "float32"))
        return after({"name": name, "regularizer": {"name": "L2", "coeff": decay}}, network=network)["weight"]

    np.testing.assert_allclose(run(0.0, 0.9), run(0.0, 0.0))
    assert np.abs(run(0.5, 0.9) - run(0.0, 0.9)).max() > 1e-4


def movement(config):
    start = {key: value.numpy() for key, value in tiny().state_dict().items()}
    return {key: np.abs(value - start[key]).max() for key, value in after(config, steps=1).items()}


@pytest.mark.parametrize("name", ["SGD", "Momentum", "RMSProp", "Adam", "AdamW"])
def test_learning_rate_factors_scale_the_steps(name):
    plain = movement({"name": name})
    scaled = movement({"name": name, "learning_rate_factors": {"fc.bias": 0.0, "fc.*": 0.5}})
    assert scaled["fc.bias"] == 0
    assert scaled["fc.weight"] == pytest.approx(plain["fc.weight"] * 0.5, rel=1e-2)
    assert scaled["conv.weight"] == plain["conv.weight"]


def test_layerwise_decay_falls_from_the_head_down():
    plain = movement({"name": "AdamWDL", "weight_decay": 0.0})
    decayed = movement({"name": "AdamWDL", "weight_decay": 0.0, "layerwise_decay": 0.5})
    for key, factor in {"conv.weight": 0.25, "conv.bias": 0.25, "norm.weight": 0.5, "fc.weight": 1.0}.items():
        assert decayed[key] == pytest.approx(plain[key] * factor, rel=1e-3), key


def trainable(network):
    return {key: value.numpy() for key, value in network.named_parameters() if not value.stop_gradient}


def test_clip_norm_bounds_the_norm_over_all_gradients():
    network = tiny()
    start = trainable(network)
    optimizer, _ = build(network, {"name": "SGD", "clip_norm": 0.5})
    step(network, optimizer, 0)
    moved = np.concatenate([(start[key] - value).ravel() / 0.1 for key, value in trainable(network).items()])
    gradient = np.concatenate([values("gradient0", key, value.shape).ravel() for key, value in start.items()])
    assert np.linalg.norm(moved) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(moved, gradient * 0.5 / np.linalg.norm(gradient), atol=1e-5)


def test_clip_grad_of_paddleclass_adamw_clips_nothing(caplog):
    with caplog.at_level("WARNING"):
        recipe = OPTIMIZERS["AdamW"](clip_grad=1e-6)
    assert recipe._clip is None
    assert "Optimizer.clip_grad: ignored, as in PaddleClas; set Optimizer.clip_norm" in caplog.text


def test_grad_clip_accepts_paddlepaddles_other_clips():
    network = tiny()
    start = trainable(network)
    optimizer, _ = build(network, {"name": "SGD", "grad_clip": {"name": "ClipGradByNorm", "clip_norm": 0.5}})
    step(network, optimizer, 0)
    for key, value in trainable(network).items():
        assert np.linalg.norm(start[key] - value) / 0.1 == pytest.approx(0.5, rel=1e-3), key


def test_two_models_with_the_same_names_train_independently():
    config = {"name": "Momentum", "momentum": 0.9}
    alone = after(config)
    first, second = tiny(), tiny()
    (one, _), (other, _) = build(first, config), build(second, config)
    for number in range(5):
        step(first, one, number)
        step(second, other, number + 5)
    assert_same({key: value.numpy() for key, value in first.state_dict().items()}, alone, 1e-7)
    assert np.abs(second.fc.weight.numpy() - alone["fc.weight"]).max() > 1e-3


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_restored_optimizer_continues_with_the_same_steps(name):
    config = {"name": name, "lr": {"name": "Cosine", "learning_rate": 0.1, "warmup_epoch": 1}}
    stopped, fresh = tiny(), tiny()
    optimizer, schedule = build(stopped, config)

    def run(network, optimizer, schedule, numbers):
        for number in numbers:
            with paddle.utils.unique_name.guard():  # as the engine does: accumulators are named at the first step
                step(network, optimizer, number)
            schedule.step()

    run(stopped, optimizer, schedule, range(3))
    weights = {key: value.numpy() for key, value in stopped.state_dict().items()}
    state = {
        key: value.clone() if isinstance(value, paddle.Tensor) else value
        for key, value in optimizer.state_dict().items()
    }
    run(stopped, optimizer, schedule, range(3, 5))

    fresh.set_state_dict(weights)
    resumed, resumed_schedule = build(fresh, config)
    resumed.set_state_dict(state)
    run(fresh, resumed, resumed_schedule, range(3, 5))
    for key, value in stopped.state_dict().items():
        np.testing.assert_array_equal(fresh.state_dict()[key].numpy(), value.numpy(), err_msg=key)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"name": "Momentum", "momentum": 1.5}, "momentum"),
        (
            {"name": "SGD", "weight_decay": 0.1, "regularizer": {"name": "L2", "coeff": 0.1}},
            "weight_decay: expected null, since regularizer",
        ),
        ({"name": "SGD", "regularizer": {"name": "L2", "factor": 0.1}}, "regularizer.factor: unknown option of L2"),
        ({"name": "SGD", "regularizer": {"coeff": 0.1}}, "L1, L2"),
        ({"name": "SGD", "clip_norm": 0.0}, "clip_norm"),
        ({"name": "SGD", "grad_clip": {"name": "ClipGradByNorm"}}, "grad_clip.clip_norm: expected a value"),
        ({"name": "SGD", "grad_clip": {"name": "ClipGradByNorm", "clip_norm": "1"}}, "clip_norm: expected a number"),
        ({"name": "SGD", "grad_clip": {"name": "ClipGradByValue", "max": None}}, "max: expected a number"),
        ({"name": "SGD", "learning_rate_factors": {"hed.*": 2.0}}, "no parameter matches"),
        ({"name": "AdamW", "beta2": 1.0}, "beta2"),
        ({"name": "AdamWDL", "layerwise_decay": 1.2}, "layerwise_decay"),
    ],
)
def test_invalid_options_are_rejected(config, expected):
    with pytest.raises(ConfigError, match=expected):
        build(tiny(), config)


def test_an_unknown_regularizer_error_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="available: L1, L2"):
        build(tiny(), {"name": "SGD", "regularizer": {"name": "L3", "coeff": 0.1}})


def test_two_parameters_of_one_name_are_rejected():
    pair = nn.LayerList([tiny(), tiny()])
    with pytest.raises(ConfigError, match="for 2 of them"):
        build(pair, {"name": "SGD"})


def test_a_frozen_model_is_rejected():
    model = tiny()
    for parameter in model.parameters():
        parameter.stop_gradient = True
    with pytest.raises(ConfigError, match="all frozen"):
        build(model, {"name": "SGD"})
