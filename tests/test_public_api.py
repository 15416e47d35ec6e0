"""The public functions reproduce PaddleClas's measured values, and report mistakes in one line."""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from helpers import reference

import ppzoo
from ppzoo import builders
from ppzoo.builders.evaluation import require_weighted_classes
from ppzoo.errors import ConfigError, UnknownNameError
from ppzoo.models import MODELS

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("case", reference.read_json("lr_schedules.json"), ids=lambda case: case["config"]["name"])
def test_schedules(case):
    schedule = builders.build_lr_schedule(
        case["config"], epochs=case["epochs"], steps_per_epoch=case["steps_per_epoch"]
    )
    rates = []
    for _ in case["lr"]:
        rates.append(schedule.get_lr())
        schedule.step()
    np.testing.assert_allclose(rates, case["lr"], rtol=1e-9, atol=1e-15)


class Tiny(paddle.nn.Layer):
    """The network that `optimizers.json` was measured with."""

    def __init__(self):
        super().__init__()

        def named(name):
            return paddle.ParamAttr(name=f"tiny_{name}")

        self.conv = paddle.nn.Conv2D(2, 3, 3, weight_attr=named("conv_weights"), bias_attr=named("conv_bias"))
        self.norm = paddle.nn.BatchNorm(3, param_attr=named("norm_scale"), bias_attr=named("norm_offset"))
        self.fc = paddle.nn.Linear(3, 2, weight_attr=named("fc_weights"), bias_attr=named("fc_bias"))


def values(kind, key, shape):
    random = np.random.RandomState(zlib.crc32(f"{kind}/{key}".encode()) & 0x7FFFFFFF)
    return random.normal(0, 1, shape).astype("float32")


@pytest.mark.parametrize("case", reference.read_json("optimizers.json"), ids=lambda case: case["optimizer"]["name"])
def test_optimizers(case):
    with paddle.utils.unique_name.guard():
        network = Tiny()
    for key, parameter in network.state_dict().items():
        parameter.set_value(values("start", key, parameter.shape))
    optimizer, schedule = builders.build_optimizer(
        case["optimizer"], network, epochs=case["epochs"], steps_per_epoch=case["steps_per_epoch"]
    )
    for step in range(5):
        for key, parameter in network.named_parameters():
            if not parameter.stop_gradient:
                parameter.grad = paddle.to_tensor(values(f"gradient{step}", key, parameter.shape))
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
    for key, expected in case["after"].items():
        received = network.state_dict()[key].numpy().ravel()
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("epsilon", [None, 0.1, 0.2])
def test_cross_entropy(epsilon):
    facts = reference.read_json("losses_metrics.json")
    logits, label = paddle.to_tensor(facts["logits"]), paddle.to_tensor(facts["label"])
    value = float(builders.build_loss([{"CELoss": {"weight": 1.0, "epsilon": epsilon}}])(logits, label)["loss"])
    assert value == pytest.approx(facts[f"CELoss_epsilon_{epsilon}"], rel=1e-6)


def test_accuracy():
    facts = reference.read_json("losses_metrics.json")
    metric = builders.build_metrics([{"TopkAcc": {"topk": [1, 5]}}])
    metric.update(paddle.to_tensor(facts["logits"]), paddle.to_tensor(facts["label"]))
    assert metric.compute() == pytest.approx(facts["TopkAcc"])


@pytest.mark.parametrize("case", reference.read_json("training.json"), ids=lambda case: case["arch"])
def test_first_training_steps(case):
    network = builders.create_model(case["arch"], class_num=case["class_num"])
    reference.fill_network(network)
    optimizer, schedule = builders.build_optimizer(
        case["optimizer"], network, epochs=case["epochs"], steps_per_epoch=case["steps_per_epoch"]
    )
    loss = builders.build_loss([{"CELoss": {"epsilon": case["epsilon"]}}])
    received = []
    for step in range(2):
        images = paddle.to_tensor(reference.image(case["batch"], case["size"], 100 + step))
        labels = np.random.RandomState(200 + step).randint(0, case["class_num"], (case["batch"], 1))
        value = loss(network(images), paddle.to_tensor(labels))["loss"]
        value.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        received.append(float(value))
    assert received[0] == pytest.approx(case["losses"][0], rel=1e-5)
    assert received[1] == pytest.approx(case["losses"][1], rel=2e-2)


@pytest.mark.parametrize("name", ["imagenet_cv2", "imagenet_pil", "square"])
def test_preprocessing(name):
    facts = reference.read_npz("preprocess.npz")
    ops = json.loads(str(facts[f"{name}_ops"]))
    received = builders.build_transforms(ops)(facts[f"{name}_input"])
    np.testing.assert_allclose(received, facts[f"{name}_output"], atol=1e-6)


def test_builders_take_typed_sections():
    config = builders.read_config(str(CONFIGS / "lenet.yaml"), [], "infer")
    plain = config.to_dict()
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    typed = builders.build_transforms(config.Infer.transforms[1:])
    np.testing.assert_array_equal(typed(image), builders.build_transforms(plain["Infer"]["transforms"][1:])(image))
    assert list(builders.build_loss(config.Loss.Eval).losses) == list(builders.build_loss(plain["Loss"]["Eval"]).losses)
    settings = {"epochs": 3, "steps_per_epoch": 4}
    schedules = [builders.build_lr_schedule(cfg, **settings) for cfg in (config.Optimizer.lr, plain["Optimizer"]["lr"])]
    assert schedules[0].get_lr() == schedules[1].get_lr()
    optimizers = [
        builders.build_optimizer(cfg, paddle.nn.Linear(2, 2), **settings)[0]
        for cfg in (config.Optimizer, plain["Optimizer"])
    ]
    assert type(optimizers[0]) is type(optimizers[1])
    probabilities = np.array([[0.1, 0.9]], np.float32)
    predictions = [
        builders.build_postprocess(cfg, {0: "cat", 1: "dog"})(probabilities)
        for cfg in (config.Infer.PostProcess, plain["Infer"]["PostProcess"])
    ]
    assert predictions[0] == predictions[1]


def test_builders_and_weights_are_attributes_of_the_package():
    assert ppzoo.builders is builders
    assert ppzoo.weights.read_pdparams is not None


def test_list_models():
    assert ppzoo.list_models("MobileNetV2*") == [
        "MobileNetV2",
        "MobileNetV2_x0_25",
        "MobileNetV2_x0_5",
        "MobileNetV2_x0_75",
        "MobileNetV2_x1_5",
        "MobileNetV2_x2_0",
    ]
    assert "LeNet" not in ppzoo.list_models(pretrained=True)
    assert "LeNet" in ppzoo.list_models(pretrained=False)


def test_two_models_in_one_process_have_equal_parameter_names():
    networks = [ppzoo.create_model("MobileNetV2_x0_25", class_num=10) for _ in range(2)]
    names = [[parameter.name for parameter in network.parameters()] for network in networks]
    assert names[0] == names[1]


def test_unknown_architecture_is_reported_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="did you mean 'MobileNetV2_x0_5'"):
        ppzoo.create_model("MobileNetV2_0.5")


@pytest.mark.parametrize("count", ["a", 2.5, True, None, [3]])
def test_class_num_of_another_type_is_reported(count):
    with pytest.raises(ConfigError, match=r"^LeNet.class_num: expected an integer, got "):
        MODELS["LeNet"].build(class_num=count)


def test_a_name_or_pattern_that_is_not_text_is_reported():
    with pytest.raises(ConfigError, match=r"^pattern: expected text such as 'ResNet\*', got 3$"):
        ppzoo.list_models(3)
    with pytest.raises(UnknownNameError, match=r"^unknown architecture \['LeNet'\]"):
        ppzoo.create_model(["LeNet"])


def test_class_num_can_be_a_numpy_integer():
    assert ppzoo.create_model("LeNet", class_num=np.int64(4)).architecture == "LeNet"


def test_unknown_option_is_reported_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"MobileNetV2 has no option 'dropuot'.*class_num, prefix_name, data_format"):
        ppzoo.create_model("MobileNetV2", dropuot=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: builders.build_loss([{"CELoss": {"epsilom": 0.1}}]), "loss CELoss: .*'epsilom'"),
        (lambda: builders.build_loss([{"CELos": None}]), "unknown loss 'CELos'; did you mean 'CELoss'"),
        (lambda: builders.build_loss([{"CELoss": {"epsilon": 1.5}}]), "loss CELoss.epsilon: expected"),
        (lambda: builders.build_transforms([{"CropImage": {}}]), "transform CropImage: .*'size'"),
        (
            lambda: builders.build_lr_schedule({"name": "Cosine", "learning_rate": -1}, epochs=2, steps_per_epoch=2),
            "schedule Cosine.learning_rate: expected a number above 0",
        ),
    ],
)
def test_mistakes_are_reported(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e39])
def test_numbers_that_are_not_finite_are_refused(number):
    makers = [
        lambda: builders.build_loss([{"FocalLoss": {"gamma": number}}]),
        lambda: builders.build_loss([{"CELoss": {"class_weights": [1.0, number]}}]),
        lambda: builders.build_lr_schedule({"name": "Cosine", "learning_rate": number}, epochs=2, steps_per_epoch=2),
        lambda: builders.build_lr_schedule(
            {"learning_rate": 0.1, "warmup_start_lr": number}, epochs=2, steps_per_epoch=2
        ),
        lambda: builders.build_transforms([{"NormalizeImage": {"mean": [0.5, number, 0.5], "std": [1.0] * 3}}]),
        lambda: builders.build_transforms([{"NormalizeImage": {"scale": "1e39"}}]),
        lambda: builders.build_optimizer(
            {
                "name": "Momentum",
                "grad_clip": {"name": "ClipGradByNorm", "clip_norm": number},
                "lr": {"learning_rate": 1},
            },
            paddle.nn.Linear(2, 2),
            epochs=2,
            steps_per_epoch=2,
        ),
    ]
    for make in makers:
        with pytest.raises(ConfigError, match="got"):
            make()


def test_class_weights_that_ignore_all_images_are_refused():
    criterion = builders.build_loss([{"CELoss": {"class_weights": [0.0, 0.0, 2.0]}}])
    require_weighted_classes("Train", criterion, SimpleNamespace(labels=np.array([0, 1, 2])))
    with pytest.raises(ConfigError, match=r"^Loss.Eval.CELoss.class_weights: expected a weight above 0 for a class"):
        require_weighted_classes("Eval", criterion, SimpleNamespace(labels=np.array([0, 1, 1])))


def test_sections_without_a_schedule_or_a_list_are_refused():
    with pytest.raises(ConfigError, match="optimizer Momentum: missing option 'lr'"):
        builders.build_optimizer({"name": "Momentum"}, paddle.nn.Linear(2, 2), epochs=1, steps_per_epoch=1)
    for build in (builders.build_loss, builders.build_transforms, builders.build_metrics):
        with pytest.raises(ConfigError, match="expected a list of mappings"):
            build({"A": {}})
