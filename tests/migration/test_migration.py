"""Migrated configurations are shorter than PaddleClas's, and equal to them."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from ppzoo import builders, config, migration
from ppzoo.errors import ConfigError
from ppzoo.migration.canonical import canonical

FIXTURES = Path(__file__).parents[1] / "fixtures"
PULC = sorted((FIXTURES / "pulc").glob("*.yaml"))
FILES = [FIXTURES / "paddleclas_mobilenet_v2_x0_5.yaml", *PULC[::4]]  # the others are tested as slow ones
RESNET = {
    "Global": {"epochs": 120, "output_dir": "./output/", "device": "gpu", "image_shape": [3, 224, 224]},
    "Arch": {"name": "ResNet50", "class_num": 1000},
    "Loss": {"Train": [{"CELoss": {"weight": 1.0}}], "Eval": [{"CELoss": {"weight": 1.0}}]},
    "Optimizer": {
        "name": "Momentum",
        "momentum": 0.9,
        "lr": {
            "name": "Piecewise",
            "learning_rate": 0.1,
            "decay_epochs": [30, 60, 90],
            "values": [0.1, 0.01, 0.001, 0.0001],
        },
        "regularizer": {"name": "L2", "coeff": 0.0001},
    },
}


@pytest.fixture(scope="module")
def components():
    return builders.components()


def migrate(raw, tmp_path):
    result = migration.migrate_config(raw, tmp_path)
    file = tmp_path / "migrated.yaml"
    file.write_text(migration.migration_text(result, Path("source.yaml"), file), encoding="utf-8")
    return result, file


def require_equal(file, original, components):
    """Check that ppzoo reads the same configuration from both, however defaults are written."""
    one, other = (config.Config.parse(raw, components, task=None) for raw in (config.load(file), original))
    assert canonical(one) == canonical(other)
    assert (one.Global, one.Infer.infer_imgs, one.EMA) == (other.Global, other.Infer.infer_imgs, other.EMA)


def check_file(file, tmp_path, components):
    original = config.load(file)
    _, written = migrate(original, tmp_path)
    require_equal(written, original, components)
    assert len(written.read_text().splitlines()) < 1.05 * len(file.read_text().splitlines())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_equal_and_not_longer(file, tmp_path, components):
    check_file(file, tmp_path, components)


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for file in PULC if file not in FILES], ids=lambda file: file.stem)
def test_equal_and_not_longer_all(file, tmp_path, components):
    check_file(file, tmp_path, components)


def test_the_base_is_the_published_recipe(tmp_path):
    result, file = migrate(config.load(FILES[0]), tmp_path)
    assert result.base == "imagenet/MobileNetV2/MobileNetV2_x0_5"
    assert len(file.read_text().splitlines()) < 25


def test_a_default_that_the_base_changes_is_written(tmp_path, components):
    """The recipe of MobileNetV3 has warmup_epoch 5; a file without it has none."""
    raw = config.load("imagenet/MobileNetV3/MobileNetV3_small_x1_0")
    del raw["Optimizer"]["lr"]["warmup_epoch"]
    result, file = migrate(raw, tmp_path)
    assert result.base == "imagenet/MobileNetV3/MobileNetV3_small_x1_0"
    assert result.keys == {"Optimizer": {"lr": {"warmup_epoch": 0}}}
    require_equal(file, raw, components)


def test_a_section_that_only_the_base_has_becomes_null(tmp_path, components):
    raw = config.load("imagenet/MobileNetV4/MobileNetV4_conv_small")
    assert raw.pop("EMA")
    result, file = migrate(raw, tmp_path)
    assert result.keys == {"EMA": None}
    require_equal(file, raw, components)


def test_a_file_that_hides_the_base_is_not_used(tmp_path):
    (tmp_path / "imagenet" / "ResNet").mkdir(parents=True)
    (tmp_path / "imagenet" / "ResNet" / "ResNet50").write_text("Arch: {name: LeNet}")
    result, _ = migrate(RESNET, tmp_path)
    assert result.base != "imagenet/ResNet/ResNet50"


def with_changes(**sections):
    raw = copy.deepcopy(RESNET)
    for name, values in sections.items():
        raw[name] = {**raw.get(name, {}), **values} if isinstance(values, dict) else values
    return raw


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"Global": {"use_dali": True}}, "behavior: Global.use_dali: DALI is not supported"),
        ({"Global": {"class_num": 1000}}, "removed: Global.class_num: PaddleClas ignores it next to Arch.class_num"),
        ({"Global": {"made_up": 1}}, "removed: Global.made_up: not supported: ppzoo has no such key"),
        ({"profiler_options": None}, "removed: profiler_options: an option of PaddleClas's tools/train.py"),
        ({"Arch": {"infer_output_key": "features"}}, "removed: Arch.infer_output_key: the output of an inner layer"),
        ({"Arch": {"infer_add_softmax": "false"}}, "removed: Arch.infer_add_softmax: exports and predictions"),
        ({"Arch": {"pretrained": "None"}}, "rewritten: Arch.pretrained: null instead of the text 'None'"),
        ({"Global": {"ema": {"enable": True, "decay": 0.9}}}, "renamed: Global.ema: the section EMA"),
        ({"AMP": {"use_pure_fp16": True}}, "renamed: AMP.use_pure_fp16: AMP.level (O2)"),
        ({"Metric": {"Eval": [{"Topk": {"k": [1, 5]}}]}}, "renamed: Metric.Eval.Topk: TopkAcc"),
        ({}, "behavior: Optimizer.lr: PaddleClas ignores `values` and `decay_epochs`"),
        ({"Optimizer": {"clip_norm": 5.0}}, "behavior: Optimizer.clip_norm: PaddleClas clips the norm of each tensor"),
        ({"Loss": {"Train": [{"CELoss": {"weight": 2.0}}]}}, "behavior: Loss.Train.0: PaddleClas ignores the weight"),
        (
            {"Arch": {"class_num": 2}, "Metric": {"Eval": [{"TopkAcc": {"topk": [1, 5]}}]}},
            "behavior: Metric.Eval: PaddleClas reports 1.0 for top-5 of 2 classes",
        ),
        ({"EMA": {"decay": 0.99}}, "behavior: EMA: PaddleClas's decay is constant"),
        ({"Global": {"checkpoints": "a"}}, "behavior: Global.checkpoints: PaddleClas does not restore the best metric"),
    ],
)
def test_changes_are_listed(sections, line, tmp_path, components):
    result, file = migrate(with_changes(**sections), tmp_path)
    assert any(change.line().startswith(line) for change in result.changes)
    assert not config.check(config.load(file), components, task=None)


def test_clip_grad_of_adamw_is_kept_and_explained(tmp_path, components):
    schedule = {"name": "Cosine", "learning_rate": 0.001}
    raw = {**copy.deepcopy(RESNET), "Optimizer": {"name": "AdamW", "clip_grad": 5.0, "lr": schedule}}
    result, file = migrate(raw, tmp_path)
    assert "behavior: Optimizer.clip_grad: it has no effect, as in PaddleClas" in "\n".join(_lines(result))
    require_equal(file, raw, components)


def test_the_old_number_of_classes_is_that_of_the_network(tmp_path):
    raw = with_changes(Global={"class_num": 102})
    del raw["Arch"]["class_num"]
    _, file = migrate(raw, tmp_path)
    assert config.load(file)["Arch"]["class_num"] == 102


def test_pure_float16_stays_so(tmp_path):
    _, file = migrate(with_changes(AMP={"use_pure_fp16": True, "scale_loss": 128.0}), tmp_path)
    assert config.load(file)["AMP"] == {"scale_loss": 128.0, "level": "O2"}


def test_decoding_is_added_where_files_are_read_without_it(tmp_path):
    ops = [{"RandCropImage": {"size": 224}}, {"NormalizeImage": {"order": ""}}]
    dataset = {"name": "ImageNetDataset", "image_root": "a", "cls_label_path": "b", "transform_ops": ops}
    split = {"dataset": dataset, "sampler": {"name": "DistributedBatchSampler", "batch_size": 8}}
    result, file = migrate(with_changes(DataLoader={"Train": split}), tmp_path)
    assert "rewritten: DataLoader.Train.dataset.transform_ops: DecodeImage" in "\n".join(map(str, _lines(result)))
    first = config.load(file)["DataLoader"]["Train"]["dataset"]["transform_ops"][0]
    assert list(first) == ["DecodeImage"]


def test_the_grid_mask_that_paddleclas_never_applies_is_named(tmp_path):
    ops = [{"DecodeImage": {}}, {"RandCropImage": {"size": 224}}, {"NormalizeImage": {"order": ""}}, {"GridMask": None}]
    dataset = {"name": "ImageNetDataset", "image_root": "a", "cls_label_path": "b", "transform_ops": ops}
    split = {"dataset": dataset, "sampler": {"name": "DistributedBatchSampler", "batch_size": 8}}
    result, _ = migrate(with_changes(DataLoader={"Train": split}), tmp_path)
    assert any("PaddleClas's GridMask changes no image" in line for line in _lines(result))


def test_the_batch_size_of_multi_scale_sampling_is_renamed(tmp_path):
    ops = [{"DecodeImage": {}}, {"RandCropImage": {"size": 224}}, {"NormalizeImage": {"order": ""}}]
    dataset = {"name": "MultiScaleDataset", "image_root": "a", "cls_label_path": "b", "transform_ops": ops}
    sampler = {"name": "MultiScaleSampler", "scales": [160, 320], "first_bs": 500, "divided_factor": 16}
    raw = with_changes(DataLoader={"Train": {"dataset": dataset, "sampler": sampler}})
    result, file = migrate(raw, tmp_path)
    assert "renamed: DataLoader.Train.sampler.first_bs: batch_size" in _lines(result)
    found = config.load(file)["DataLoader"]["Train"]["sampler"]
    expected = {"name": "MultiScaleSampler", "scales": [160, 320], "batch_size": 500, "divided_factor": 16}
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ([1], "DataLoader"),
        ({"Train": [1]}, "DataLoader.Train"),
        ({"Train": {"sampler": "MultiScaleSampler"}}, "DataLoader.Train.sampler"),
        ({"Train": {"sampler": {"name": "MultiScaleSampler", "scales": 224}}}, "DataLoader.Train.sampler.scales"),
        (
            {
                "Train": {
                    "sampler": {"name": "MultiScaleSampler", "scales": [224], "first_bs": 8},
                    "dataset": {"name": "MultiScaleDataset", "transform_ops": [None, {"RandCropImage": 224}]},
                }
            },
            "DataLoader.Train.dataset.transform_ops.1.RandCropImage",
        ),
    ],
)
def test_sections_of_wrong_types_are_reported(section, key, tmp_path):
    with pytest.raises(ConfigError, match=rf"(?m)^{re.escape(key)}: "):
        migrate(with_changes(DataLoader=section), tmp_path)


def _lines(result):
    return [change.line() for change in result.changes]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"Arch": {"name": "RecModel"}}, "Arch.name: retrieval and feature models"),
        ({"Arch": {"name": "ViT_base_patch16_224"}}, "Arch.name: expected the name of an architecture"),
        ({"Optimizer": {"name": "Lamb"}}, "Optimizer.name: expected the name of an optimizer, got 'Lamb'"),
        ({"Loss": {"Train": [{"CELoss": {"made_up": 1}}]}}, r"Loss.Train.0.CELoss.made_up: unknown key"),
        ({"TRAIN": {"batch_size": 3}}, "TRAIN: configurations of PaddleClas 1.x"),
    ],
)
def test_what_would_change_the_result_is_refused(sections, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        migration.migrate_config(with_changes(**sections), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Global: {inference_model_dir: models, use_gpu: true}", "configurations of PaddleClas's deploy/configs"),
        ("Global: {rec_inference_model_dir: models}", "retrieval and feature models"),
        ("Arch: {name: LeNet}\nPreProcess: {transform_ops: []}", "the settings of an export"),
        ("Global: {model: PP-LCNet_x1_0}\nTrain: {num_classes: 4}", "configurations of PaddleX"),
        ("search_dict: []", "searches of PaddleClas's search_strategy.py"),
        ("name: conda", "expected a training configuration of PaddleClas with the section Arch"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_they_are(text, message, tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        migration.migrate_config(migration.read_source(migration.find_sources(file)[0]), tmp_path)


def print_like_paddleclas(values, depth=0):
    """Return the lines that PaddleClas prints for a configuration: sorted keys, Python's notation, no list marks."""
    lines = []
    for key, value in sorted(values.items()):
        head = f"[2024/05/01 10:00:00] ppcls INFO: {' ' * depth}{key} : "
        if isinstance(value, dict):
            lines += [head, *print_like_paddleclas(value, depth + 4)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [head, *(line for item in value for line in print_like_paddleclas(item, depth + 4))]
        else:
            lines.append(f"{head}{value}")
        if key.isupper():
            lines.append(f"[2024/05/01 10:00:00] ppcls INFO: {'-' * 60}")
    return lines


@pytest.mark.parametrize("file", [FILES[0], *PULC], ids=lambda file: file.stem)
def test_the_log_of_a_run_has_its_configuration(file, tmp_path):
    original = config.load(file)
    banner = "[2024/05/01 10:00:00] ppcls INFO: \n====\n==  PaddleClas  ==\n"
    end = "[2024/05/01 10:00:00] ppcls INFO: train with paddle 2.6.2 and device Place(cpu)\n"
    earlier = "\n".join(print_like_paddleclas({**original, "Global": {"epochs": 1}}))
    steps = "[2024/05/01 10:00:01] ppcls INFO: [Train][Epoch 1/20][Iter: 0/10]lr : 0.1, top1: 0.5\n"
    log = tmp_path / "train.log"
    log.write_text(f"{banner}{earlier}\n{end}{steps}{banner}" + "\n".join(print_like_paddleclas(original)) + f"\n{end}")
    (source,) = migration.find_sources(tmp_path)
    assert migration.read_source(source) == original


def test_a_log_without_a_configuration_is_refused(tmp_path):
    (tmp_path / "train.log").write_text("epoch 1\n\xff")
    (source,) = migration.find_sources(tmp_path)
    with pytest.raises(ConfigError, match=r"train.log: expected the configuration that PaddleClas prints"):
        migration.read_source(source)


def test_a_log_with_deeply_nested_keys_is_refused(tmp_path):
    prefix = "[2024/05/01 10:00:00] ppcls INFO: "
    (tmp_path / "train.log").write_text("".join(f"{prefix}{' ' * depth}Arch : \n" for depth in range(3000)))
    (source,) = migration.find_sources(tmp_path)
    with pytest.raises(ConfigError, match=r"train.log: expected a configuration of PaddleClas, got keys nested too"):
        migration.read_source(source)
