"""PaddleClas's PULC configurations are accepted, and what differs in them is reported in one line."""

from pathlib import Path

import pytest

from ppzoo import builders, config

FILES = sorted((Path(__file__).parents[1] / "fixtures" / "pulc").glob("*.yaml"))


@pytest.fixture(scope="module")
def components():
    return builders.components()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_pulc_files_have_no_mistakes(file, components):
    assert config.check(config.load(file), components) == []


def test_all_eleven_distillation_recipes_are_checked():
    assert len([file for file in FILES if file.stem.startswith("distillation_")]) == 11


def load(name, **arch):
    loaded = config.load(next(file for file in FILES if file.stem == name))
    loaded["Arch"].update(arch)
    return loaded


@pytest.mark.parametrize(
    ("name", "path", "classes"),
    [
        ("person_exists", "Metric.Eval.0.TprAtFpr", 2),
        ("person_exists", "Infer.PostProcess.name", 2),
        ("vehicle_attribute", "Infer.PostProcess.name", 19),
        ("person_attribute", "Infer.PostProcess.name", 26),
        ("table_attribute", "Infer.PostProcess.name", 6),
    ],
)
def test_another_number_of_classes_is_reported_before_the_training(name, path, classes, components):
    problems = config.check(load(name, class_num=3), components)
    (line,) = [line for line in problems if line.startswith(f"{path}: ")]
    assert f"expected a network of {classes} classes" in line
    assert line.endswith("got 3 (Arch.class_num)")


def test_infer_add_softmax_changes_nothing_with_several_labels_per_image(components):
    assert load("vehicle_attribute")["Arch"]["infer_add_softmax"] is False
    (line,) = config.check(load("traffic_sign", infer_add_softmax=False), components)
    assert line.startswith("Arch.infer_add_softmax: exports and predictions are probabilities")


def test_files_of_search_strategy_get_one_line(components):
    loaded = {"base_config_file": "PPLCNet_x1_0_search.yaml", "search_dict": [{"search_key": "lrs"}], "gpus": "0"}
    (line,) = config.check(loaded, components)
    assert line.startswith("search_dict: searches of PaddleClas's search_strategy.py are not supported")
