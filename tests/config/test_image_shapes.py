"""`ppzoo check` compares the shape of the transformed images, `Global.image_shape` and the network."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
from helpers.small_runs import paint_class_folders, small_config, train_config

from ppzoo.builders.dry_run import dry_run_config
from ppzoo.cli import main
from ppzoo.errors import ConfigError

QUICK = str(Path(__file__).parents[2] / "configs" / "lenet.yaml")
PULC_FILES = sorted((Path(__file__).parents[1] / "fixtures" / "pulc").glob("*.yaml"))
NORMALIZE = "{NormalizeImage: {order: ''}}"
DECODE = "{DecodeImage: {channels: 1}}"
GRAY = "{NormalizeImage: {mean: [0.5], std: [0.5], order: ''}}"


def problems(*overrides: str) -> list[str]:
    try:
        dry_run_config(QUICK, overrides)
    except ConfigError as error:
        return list(error.problems)
    return []


def test_a_valid_configuration_has_no_problems():
    assert problems() == []


@pytest.mark.parametrize("split", ["Train", "Eval"])
def test_gray_images_for_a_network_of_three_channels(split):
    path = f"DataLoader.{split}.dataset.transform_ops"
    found = problems(f"{path}=[{DECODE}, {{ResizeImage: {{size: 32}}}}, {GRAY}]")
    expected = f"{path}: expected images of 3 channels (Arch.in_channels), got 1; set DecodeImage.channels"
    assert found == [f"{expected}, and as many values of NormalizeImage.mean and std"]


def test_image_size_that_the_network_cannot_take():
    path = "DataLoader.Eval.dataset.transform_ops"
    found = problems(f"{path}=[{{ResizeImage: {{size: 48}}}}, {NORMALIZE}]")
    assert len(found) == 1
    assert found[0].startswith(f"{path}: expected images that LeNet can take")
    assert "got 3 x 48 x 48 float32; check the transforms" in found[0]


def warnings(source, *overrides: str, level: int = logging.WARNING) -> list[str]:
    """Return the messages of at least a level of a check that finds no mistake."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(level)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("ppzoo")
    previous = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        dry_run_config(source, overrides)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(previous)
    return [record.getMessage() for record in records]


def test_dali_is_a_note():
    assert problems("Global.use_dali=true") == []
    (line,) = set(warnings(QUICK, "Global.use_dali=true", level=logging.INFO)) - set(
        warnings(QUICK, level=logging.INFO)
    )
    assert line == "Global.use_dali: ignored, since DALI is not supported; ppzoo's loader reads the images"


def test_image_shape_that_the_network_cannot_take():
    (line,) = problems("Global.image_shape=[3,48,48]")
    assert line.startswith("Global.image_shape: expected images that LeNet can take")
    assert line.endswith("; check the values and their order, [channels, height, width]")


def test_image_shape_that_differs_from_the_inference_transforms_is_a_warning():
    sizes = "[{DecodeImage: {}}, {ResizeImage: {size: [40, 24]}}, {NormalizeImage: {order: ''}}]"
    arch, shape = "Arch={name: MobileNetV1_x0_25, class_num: 10}", "Infer.transforms produce images of"
    first, *_ = warnings(QUICK, arch, f"Infer.transforms={sizes}")
    expected = f"{shape} [3, 24, 40], not of Global.image_shape [3, 32, 32]; this does not affect training, but"
    assert first == f"{expected} the export needs -o Global.image_shape=[3,24,40]"
    assert not any(line.startswith(shape) for line in warnings(QUICK, arch))


def test_sizes_that_depend_on_the_images_are_not_compared_with_the_network():
    path = "DataLoader.Train.dataset.transform_ops"
    assert problems(f"{path}=[{NORMALIZE}]") == []
    first, *_ = warnings(
        QUICK, f"Infer.transforms=[{{DecodeImage: {{}}}}, {{ResizeImage: {{resize_short: 32}}}}, {NORMALIZE}]"
    )
    assert first.startswith("Infer.transforms produce images of [3, any, any], not of Global.image_shape [3, 32, 32];")


@pytest.mark.slow
@pytest.mark.parametrize("file", PULC_FILES, ids=lambda file: file.stem)
def test_pulc_files_have_no_mistakes(file):
    expected = "Infer.transforms produce images of [3, 80, 160], not of Global.image_shape [3, 224, 224]"
    differs = file.stem == "distillation_language_classification"
    assert any(expected in line for line in warnings(str(file))) == differs


def test_training_with_another_image_shape_warns_and_only_its_export_fails(tmp_path, capsys):
    paint_class_folders(tmp_path / "images", count=4)
    config = small_config(tmp_path, "MobileNetV1_x0_25")
    config["Global"]["image_shape"] = [3, 64, 64]
    train_config(tmp_path, copy.deepcopy(config))
    capsys.readouterr()
    run = str(tmp_path / "output" / "MobileNetV1_x0_25")
    log = (Path(run) / "train.log").read_text()
    assert log.count("Infer.transforms produce images of [3, 32, 32], not of Global.image_shape [3, 64, 64]") == 1
    line = "Infer.transforms: expected images of Global.image_shape [3, 64, 64], got [3, 32, 32]"
    assert main(["export", run]) == 2
    assert line in capsys.readouterr().err
    assert main(["export", run, "-o", "Global.image_shape=[3,32,32]"]) == 0


def test_transforms_that_cannot_be_applied():
    path = "DataLoader.Train.dataset.transform_ops"
    found = problems(f"{path}=[{{NormalizeImage: {{mean: [0.5, 0.5], std: [0.5, 0.5], order: ''}}}}]")
    assert len(found) == 1
    assert found[0].startswith(f"{path}: ")
