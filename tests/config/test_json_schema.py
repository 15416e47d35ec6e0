"""The JSON Schema of configurations: valid itself, accepts every shipped file, and refuses mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppzoo import builders
from ppzoo.config import check, json_schema, load
from ppzoo.yaml_io import parse

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
PADDLECLAS = ROOT / "tests" / "fixtures" / "paddleclas_mobilenet_v2_x0_5.yaml"
FILES = [*sorted((ROOT / "configs").rglob("*.yaml")), PADDLECLAS]


@pytest.fixture(scope="module")
def known():
    return builders.components()


@pytest.fixture(scope="module")
def validator(known):
    schema = json.loads(json.dumps(json_schema(known)))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_valid_with_and_without_its_bases(path, known, validator):
    validator.validate(parse(path.read_text(encoding="utf-8"), str(path)))
    validator.validate(load(path, (), known))


@pytest.mark.parametrize(
    "overrides",
    [
        ["Global.epohcs=3"],
        ["Globl={}"],
        ["Global.device=3"],
        ["AMP.level=O3"],
        ["Arch.name=MobileNet"],
        ["Arch.scale=0.5"],
        ["Loss.Train.0.CELoss.epsilonn=0.1"],
        ["Loss.Train=[{CELoss: null, weight: 1.0}]"],
        ["Optimizer.momentun=0.9"],
        ["Optimizer.lr={name: Cosine, gamma: 0.1}"],
        ["DataLoader.Train.dataset.transform_ops=[{CropImage: {}}]"],
        ["DataLoader.Train.sampler={batchsize: 3}"],
        ["Infer.PostProcess={name: Topk, threshold: 0.5}"],
        ["Arch={name: DistillationModel, models: [{Student: {name: LeNet, clas_num: 3}}]}"],
    ],
    ids=" ".join,
)
def test_mistakes_are_invalid(overrides, validator):
    validator.validate(load(PADDLECLAS))
    assert not validator.is_valid(load(PADDLECLAS, overrides))


@pytest.mark.parametrize(
    "override",
    [
        "Global.epochs=0",
        "Global.epochs=2147483648",
        "Global.seed=-1",
        "Global.seed=4294967296",
        "Global.device=gpus",
        "Global.image_shape=[3, 224]",
        "Global.image_shape=[3, 0, 224]",
        "DataLoader.Train.sampler.batch_size=0",
        "DataLoader.Train.loader.num_workers=257",
        "EMA={decay: 1}",
        "Loss.Train=[{CELoss: {weight: -1}}]",
    ],
)
def test_values_outside_limits_fail_in_the_schema_and_in_ppzoo(override, known, validator):
    content = load(PADDLECLAS, [override])
    assert not validator.is_valid(content)
    assert any("expected" in problem for problem in check(content, known))


def test_keys_are_described(validator):
    sections = validator.schema["$defs"]
    keys = sections["GlobalConfig"]["properties"]
    assert keys["epochs"]["description"] == "number of epochs; required for training."
    assert keys["print_batch_step"]["default"] == 10
    assert sections["LrConfig.Cosine"]["description"].startswith("Half a cosine")
    assert "CELoss" in sections["LossTermConfig_item"]["properties"]
