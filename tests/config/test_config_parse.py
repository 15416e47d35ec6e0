"""`Config.parse` returns a frozen tree that is typed to the leaves, and `to_dict` returns what was given."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path

import pytest

from ppzoo import builders, config
from ppzoo.config import (
    ArchConfig,
    Component,
    ComponentSpec,
    Config,
    DatasetConfig,
    DistillationConfig,
    LossTermConfig,
    check,
    dump,
    load,
)
from ppzoo.errors import ConfigError

ROOT = Path(__file__).parents[2]
PADDLECLAS = ROOT / "tests" / "fixtures" / "paddleclas_mobilenet_v2_x0_5.yaml"
OLD_RUN = ROOT / "tests" / "fixtures" / "version_0_1" / "LeNet" / "config.yaml"
FILES = [path for path in sorted((ROOT / "configs").rglob("*.yaml")) if "_base_" not in path.parts]


@pytest.fixture(scope="module")
def known():
    return builders.components()


def parse(known, *overrides, file=PADDLECLAS, task="train"):
    return Config.parse(load(file, overrides, known), known, task)


def sections_below(value):
    """Yield every dataclass in a configuration."""
    if is_dataclass(value):
        yield value
        for key in fields(value):
            yield from sections_below(getattr(value, key.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from sections_below(item)


def test_leaves_are_typed(known):
    parsed = parse(known)
    assert parsed.Global.epochs == 240
    assert parsed.Global.image_shape == (3, 224, 224)
    assert parsed.Arch == ArchConfig(spec=ComponentSpec("MobileNetV2_x0_5"), class_num=1000)
    assert parsed.Loss.Train == (LossTermConfig(spec=ComponentSpec("CELoss", {"epsilon": 0.1}), weight=1.0),)
    assert parsed.Metric.Eval == (ComponentSpec("TopkAcc", {"topk": [1, 5]}),)
    assert parsed.Optimizer.spec == ComponentSpec("Momentum", {"momentum": 0.9})
    assert parsed.Optimizer.lr.spec == ComponentSpec("Cosine", {"learning_rate": 0.1})
    assert parsed.Optimizer.regularizer == ComponentSpec("L2", {"coeff": 3e-5})
    split = parsed.DataLoader.Train
    assert isinstance(split.dataset, DatasetConfig)
    assert split.dataset.spec.name == "ImageNetDataset"
    assert split.dataset.spec.options.keys() == {"image_root", "cls_label_path"}
    assert split.dataset.transform_ops[1] == ComponentSpec("RandCropImage", {"size": 224})
    assert (split.sampler.batch_size, split.sampler.shuffle, split.sampler.drop_last) == (64, True, False)
    assert split.loader.num_workers == 4
    assert parsed.Infer.PostProcess.spec == ComponentSpec("Topk", {"topk": 5})
    assert parsed.Infer.PostProcess.class_id_map_file == "ppcls/utils/imagenet1k_label_list.txt"


def test_missing_and_null_sections_have_defaults(known):
    parsed = parse(known, "DataLoader.Eval=null", "Metric=null", "EMA=null", "DataLoader.Train.loader=null")
    assert parsed.DataLoader.Eval is None
    assert parsed.Metric.Train is None
    assert parsed.EMA is None
    assert parsed.TTA is None
    assert parsed.DataLoader.Train.loader.num_workers == 0
    assert parsed.Global.seed is None
    assert parsed.Global.log_ranks == "0"


def test_the_tree_is_frozen(known):
    found = list(sections_below(parse(known)))
    assert len(found) > 40
    for section in found:
        name = fields(section)[0].name
        with pytest.raises(FrozenInstanceError):
            setattr(section, name, None)


def test_options_are_not_shared_with_the_mapping(known):
    raw = load(PADDLECLAS, (), known)
    parsed = Config.parse(raw, known)
    raw["Metric"]["Train"][0]["TopkAcc"]["topk"].append(9)
    assert parsed.Metric.Train[0].options == {"topk": [1, 5]}
    parsed.to_dict()["Metric"]["Train"][0]["TopkAcc"]["topk"].append(9)
    assert parsed.Metric.Train[0].options == {"topk": [1, 5]}


@pytest.mark.parametrize("path", [*FILES, PADDLECLAS, OLD_RUN], ids=lambda path: path.stem)
def test_to_dict_returns_what_was_given(path, known):
    raw = load(path, (), known)
    parsed = Config.parse(raw, known, task=None)
    assert dump(parsed.to_dict()) == dump(raw)
    assert Config.parse(parsed.to_dict(), known, task=None) == parsed


@pytest.mark.parametrize(
    "overrides",
    [
        ["Loss=null"],
        ["Global=null"],
        ["DataLoader={}"],
        ["DataLoader.Train.loader=null"],
        ["DataLoader.Train.sampler={batch_size: 8}"],
        ["Optimizer.lr={learning_rate: 0.1}"],
        ["Loss.Train=[{CELoss: null}, {CELoss: {}}, {CELoss: {epsilon: 0.1, weight: 2}}]"],
        ["Infer.transforms=[{ToCHWImage: null}, {DecodeImage: {}}]"],
        ["Infer.infer_imgs=[a.jpg, b.jpg]"],
        ["Global.log_ranks=[0, 1]"],
        ["Arch.freeze=['conv1*']"],
    ],
    ids=" ".join,
)
def test_to_dict_keeps_nulls_empty_mappings_and_the_order_of_keys(overrides, known):
    raw = load(PADDLECLAS, overrides, known)
    assert dump(Config.parse(raw, known, task=None).to_dict()) == dump(raw)


def test_derived_values_follow_the_given_ones(known):
    parsed = parse(known, "Arch={name: LeNet}").with_class_num(3).with_class_names(["a", "b", "c"])
    plain = parsed.to_dict()
    assert plain["Arch"] == {"name": "LeNet", "class_num": 3}
    assert list(plain["Global"])[-1] == "class_names"
    assert plain["Global"]["class_names"] == ["a", "b", "c"]
    assert Config.parse(plain, known) == parsed
    assert replace(parsed, Global=replace(parsed.Global, epochs=2)).to_dict()["Global"]["epochs"] == 2


def test_names_of_components_without_one_are_those_that_declare_it(known):
    parsed = parse(known, "DataLoader.Train.sampler={batch_size: 8}", "Optimizer.lr={learning_rate: 0.1}")
    assert parsed.DataLoader.Train.sampler.spec.name == "DistributedBatchSampler"
    assert parsed.Optimizer.lr.spec.name == "Constant"


def test_networks_of_a_distillation(known):
    models = "[{Teacher: {name: ResNet34}}, {Student: {name: LeNet, class_num: 5, pretrained: w}}]"
    arch = f"Arch={{name: DistillationModel, class_num: 7, models: {models}}}"
    parsed = parse(known, arch, "Loss=null", "Metric=null", task=None)
    assert isinstance(parsed.Arch, DistillationConfig)
    assert {name: network.class_num for name, network in parsed.Arch.networks.items()} == {"Teacher": 7, "Student": 5}
    assert parsed.Arch.deployed is not parsed.Arch
    assert (parsed.Arch.deployed.name, parsed.Arch.deployed.pretrained) == ("LeNet", "w")
    assert parsed.Arch.deployed_prefix == "Student."
    assert parsed.Arch.spec.options == {}


def test_all_mistakes_are_raised_at_once(known):
    with pytest.raises(ConfigError) as error:
        parse(known, "Global.epohcs=3", "Arch.class_num=ten", "EMA.decay=2")
    assert error.value.problems == (
        "Global.epohcs: unknown key; did you mean Global.epochs?",
        "Arch.class_num: expected an integer, got 'ten'",
        "EMA.decay: expected a number from 0 to below 1, got 2",
    )


def test_read_config_takes_a_mapping(known):
    raw = load(ROOT / "configs" / "lenet.yaml", (), known)
    before = dump(raw)
    parsed = builders.read_config(raw, ["Global.epochs=2"], "train")
    assert parsed == builders.read_config(str(ROOT / "configs" / "lenet.yaml"), ["Global.epochs=2"], "train")
    assert dump(raw) == before


# --- what components declare ----------------------------------------------------------------------------------------


def with_toy(known, kind, name="Toy", **declared):
    """The components with another one that declares some attributes."""
    toy = type(name, (), {"__init__": lambda self, **options: None, **declared})
    return {**known, kind: {**known[kind], name: Component.of(toy)}}


@pytest.mark.parametrize(
    ("kind", "declared", "overrides", "line"),
    [
        (
            "lr",
            {"needs_evaluation": True},
            ["Optimizer.lr={name: Toy}", "DataLoader.Eval=null"],
            "Optimizer.lr.name: Toy needs evaluations during training; add DataLoader.Eval",
        ),
        (
            "optimizer",
            {"decoupled_weight_decay": True},
            ["Optimizer={name: Toy, lr: {learning_rate: 1}, regularizer: {name: L2}}"],
            "Optimizer.regularizer: expected null, since Toy has decoupled weight decay, got the keys 'name'; use"
            " Optimizer.weight_decay",
        ),
        (
            "loss",
            {"label_kind": "multi"},
            ["Loss.Train=[{Toy: null}]"],
            "Loss.Train.0.Toy: Toy is for several labels per image; set Global.use_multilabel to true",
        ),
        (
            "loss",
            {"outputs": 2},
            ["Loss.Train=[{Toy: null}]"],
            "Loss.Train.0.Toy: expected a network with two outputs (another component) for Toy, got MobileNetV2_x0_5",
        ),
        (
            "arch",
            {"outputs": 3},
            ["Arch={name: Toy}", "Loss.Eval=null", "Metric=null"],
            "Loss.Train.0.CELoss: expected GoogLeNetLoss, since Toy has three outputs, got CELoss",
        ),
        (
            "metric",
            {"networks": "several"},
            ["Metric.Train=[{Toy: null}]"],
            "Metric.Train.0.Toy: expected Arch.name DistillationModel for Toy, got MobileNetV2_x0_5",
        ),
    ],
)
def test_rules_come_from_what_a_component_declares(kind, declared, overrides, line, known):
    components = with_toy(known, kind, **declared)
    assert check(load(PADDLECLAS, overrides, components), components) == [line]
    assert line not in check(load(PADDLECLAS, overrides, components), with_toy(known, kind))


def test_a_loss_declares_which_options_name_networks(known):
    networks = "[{Teacher: {name: ResNet34}}, {Student: {name: ResNet18}}]"
    overrides = [
        f"Arch={{name: DistillationModel, models: {networks}, freeze_params_list: [true, false]}}",
        "Loss={Train: [{Toy: {pupil: Studnet}}]}",
        "Metric=null",
    ]

    class Toy:
        networks, network_options = "several", ("pupil",)

        def __init__(self, *, pupil: str) -> None: ...

    components = {**known, "loss": {**known["loss"], "Toy": Component.of(Toy)}}
    assert check(load(PADDLECLAS, overrides, components), components) == [
        "Loss.Train.0.Toy.pupil: expected the name of a network in Arch.models, got 'Studnet'; did you mean 'Student'?"
    ]


def test_no_component_is_known_by_name():
    names = {name for table in builders.components().values() for name in table}
    package = Path(config.__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.glob("*.py")}
    del texts["unsupported.py"]
    found = [(file, name) for file, text in texts.items() for name in names if f'"{name}"' in text]
    assert found == []
