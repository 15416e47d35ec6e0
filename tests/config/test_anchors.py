"""Keys of a file that only hold YAML anchors are not part of the configuration; misspelled sections are mistakes."""

from __future__ import annotations

import textwrap

import pytest

from ppzoo import builders
from ppzoo.config import check, json_schema, load
from ppzoo.migration.migrate import migrate_config
from ppzoo.migration.sources import Source, read_source
from ppzoo.yaml_io import parse

BASE = "_BASE_: mobilenet_v2_x0_5\n"
ANCHORS = {
    "a number": "epochs: &epochs 30\nGlobal: {epochs: *epochs}",
    "a list": "_losses: &losses [{CELoss: {weight: 1.0}}]\nLoss: {Train: *losses, Eval: *losses}",
    "a merged mapping": "common: &common {epochs: 30, seed: 1}\nGlobal: {<<: *common, seed: 2}",
    "inner values": "x-run:\n  epochs: &epochs 30\n  seed: &seed 2\nGlobal: {epochs: *epochs, seed: *seed}",
    "anchors of anchors": "side: &side 96\nshape: &shape [3, *side, *side]\nGlobal: {image_shape: *shape}",
    "capitals": "LOSS_TERMS: &losses [{CELoss: {weight: 2.0}}]\nLoss: {Eval: *losses}",
    "the name of a section in small letters": "loss: &loss [{CELoss: {weight: 1.0}}]\nLoss: {Train: *loss}",
    "an anchor that nothing uses": "size: &size 3\nGlobal: {epochs: 30}",
    "merged into the file": "parts: &parts {Global: {epochs: 30}}\n<<: *parts",
}
MISTAKES = {
    "a misspelled section": ("Golbal: {epochs: 30}", "Golbal: unknown key; did you mean Global?"),
    "with an anchor inside": (
        "Golbal: {epochs: &epochs 3}\nOptimizer: {lr: {warmup_epoch: *epochs}}",
        "Golbal: unknown key; did you mean Global?",
    ),
    "with an anchor and an alias": (
        "Golbal: &golbal {epochs: 30}\nEMA: *golbal",
        "Golbal: unknown key; did you mean Global?",
    ),
    "no anchor": ("size: 3\nGlobal: {epochs: 30}", "size: unknown key; known keys: "),
    "an alias of a section's anchor": ("Global: {epochs: &epochs 3}\nrun: [*epochs]", "run: unknown key; known keys: "),
}


@pytest.fixture(scope="module")
def known():
    return builders.components()


@pytest.fixture
def read(tmp_path, known):
    def read(text, name="config.yaml"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load(path, (), known)

    return read


@pytest.mark.parametrize("text", ANCHORS.values(), ids=ANCHORS)
def test_keys_that_hold_anchors_are_not_part_of_the_configuration(text, read, known):
    config = read(BASE + text)
    assert config.keys() <= read(BASE).keys()
    assert config != read(BASE)
    assert check(config, known) == []


def test_a_base_can_have_anchors(read, known):
    read(f"{BASE}epochs: &epochs 30\nGlobal: {{epochs: *epochs}}", "base.yaml")
    config = read("_BASE_: base.yaml\nepochs: &epochs 4\nGlobal: {seed: *epochs}")
    assert (config["Global"]["epochs"], config["Global"]["seed"], "epochs" in config) == (30, 4, False)


@pytest.mark.parametrize(("text", "problem"), MISTAKES.values(), ids=MISTAKES)
def test_other_unknown_keys_are_mistakes(text, problem, read, known):
    assert any(line.startswith(problem) for line in check(read(BASE + text), known))


def test_migration_ignores_the_keys(tmp_path):
    text = (
        "size: &size 64\nArch: {name: LeNet, class_num: 3}\nGlobal: {epochs: 30, image_shape: [3, *size, *size]}\n"
        "Loss: {Train: [{CELoss: {weight: 1.0}}]}\n"
    )
    (tmp_path / "theirs.yaml").write_text(text, encoding="utf-8")
    migrated = migrate_config(read_source(Source(tmp_path / "theirs.yaml", tmp_path / "ours.yaml")), tmp_path)
    assert "size" not in migrated.keys
    assert not [change for change in migrated.changes if change.key == "size"]


def test_the_json_schema_accepts_what_can_be_such_a_key(known):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema(known))
    for key in ("epochs", "_losses", "x-run", "numérique"):
        assert validator.is_valid(parse(f"{key}: &a 3\nGlobal: {{epochs: *a}}", ""))
    for key in ("Golbal", "global", "dataloader"):
        assert not validator.is_valid(parse(f"{key}: {{epochs: 30}}", ""))
