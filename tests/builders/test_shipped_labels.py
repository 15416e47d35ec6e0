"""Label lists that do not fit: ImageNet's, which copies of PaddleClas's configurations still name, and the user's."""

import shutil

import pytest
import yaml
from helpers.small_runs import paint_class_folders, small_config

from ppzoo import builders, config, data
from ppzoo.builders.class_names import list_labels, list_readable_labels
from ppzoo.cli import main
from ppzoo.errors import ConfigError, DataError

OPS = [{"DecodeImage": {}}, {"ResizeImage": {"size": 32}}, {"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]


def parsed(class_num, options, class_names=None):
    raw = {
        "Global": {"class_names": class_names},
        "Arch": {"name": "LeNet", "class_num": class_num},
        "Infer": {"transforms": OPS, "PostProcess": {"name": "Topk", "topk": 1, **options}},
    }
    return config.Config.parse(raw, builders.components(), task=None)


def labels(file, class_num, class_names=None):
    return list_labels(parsed(class_num, {"class_id_map_file": str(file)}, class_names))


def test_the_names_of_imagenet_are_ignored_for_other_classes(caplog):
    assert labels("ppcls/utils/imagenet1k_label_list.txt", 3) == ["0", "1", "2"]
    assert "class_id_map_file: ignoring ppcls/utils/imagenet1k_label_list.txt, which names 1000" in caplog.text
    assert labels("ppcls/utils/imagenet1k_label_list.txt", 1000)[:1] == ["tench, Tinca tinca"]


def test_too_many_names_in_a_file_of_the_user_are_an_error(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("0 cat\n1 dog\n2 fox\n3 owl\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected names of 3 classes"):
        labels(file, 3)


def test_an_index_that_is_too_high_is_named(tmp_path, caplog):
    for name in ("names.txt", "imagenet1k_label_list.txt"):
        (tmp_path / name).write_text("1 cat\n2 dog\n3 fox\n", encoding="utf-8")
    expected = "has the index 3, but the highest class index is 2"
    with pytest.raises(ConfigError, match=expected):
        labels(tmp_path / "names.txt", 3)
    with caplog.at_level("INFO", "ppzoo"):
        assert labels(tmp_path / "imagenet1k_label_list.txt", 3) == ["0", "1", "2"]
        assert labels(tmp_path / "names.txt", 3, ["blue", "green", "red"]) == ["blue", "green", "red"]
    assert f"imagenet1k_label_list.txt, which {expected}" in caplog.text
    assert f"names.txt {expected}: using the names of the training data" in caplog.text


@pytest.mark.parametrize(
    ("options", "class_names", "expected"),
    [
        ({"label_list": ["Katze", "Hund"]}, ["cat", "dog"], ["Katze", "Hund"]),
        ({"class_id_map_file": "two.txt"}, ["cat", "dog"], ["Katze", "Hund"]),
        ({"class_id_map_file": "one.txt"}, ["cat", "dog"], ["cat", "dog"]),
        ({"class_id_map_file": "one.txt"}, None, ["0", "Hund"]),
        ({}, ["cat", "dog"], ["cat", "dog"]),
        ({}, None, ["0", "1"]),
    ],
)
def test_model_card_and_export_have_the_same_names(tmp_path, monkeypatch, options, class_names, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("0 Katze\n1 Hund\n", encoding="utf-8")
    (tmp_path / "one.txt").write_text("1 Hund\n", encoding="utf-8")
    made = parsed(2, options, class_names)
    assert list_labels(made) == list_readable_labels(made) == expected


def test_names_that_cannot_be_read_are_an_error_of_the_export_only(tmp_path):
    made = parsed(2, {"class_id_map_file": str(tmp_path / "missing.txt")}, ["cat", "dog"])
    assert list_readable_labels(made) == ["cat", "dog"]
    with pytest.raises(DataError, match="cannot read the label file"):
        list_labels(made)


@pytest.fixture
def list_config(tmp_path):
    """A configuration whose list files of two classes have no names, and whose label file has four."""
    paint_class_folders(tmp_path / "images", ["blue", "red"], count=4)
    data.split_folder(tmp_path / "images")
    (tmp_path / "images" / "label_list.txt").unlink()
    (tmp_path / "names.txt").write_text("0 cat\n1 dog\n2 fox\n3 owl\n", encoding="utf-8")
    made = small_config(tmp_path, "LeNet")
    made["Arch"]["class_num"] = 2
    for split, name in (("Train", "train_list.txt"), ("Eval", "val_list.txt")):
        made["DataLoader"][split]["dataset"] |= {
            "name": "ImageNetDataset",
            "image_root": str(tmp_path / "images"),
            "cls_label_path": str(tmp_path / "images" / name),
        }
    made["Infer"]["PostProcess"] = {"name": "Topk", "topk": 1, "class_id_map_file": str(tmp_path / "names.txt")}
    return made


def run(command, made, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made), encoding="utf-8")
    return main([command, "-c", str(tmp_path / "config.yaml")])


def test_names_of_too_many_classes_are_reported_before_training(list_config, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    expected = (
        "error: Infer.PostProcess.class_id_map_file: expected names of 2 classes (Arch.class_num), got"
        f" {str(tmp_path / 'names.txt')!r}, which names 4 classes, not 2; set another file or null"
    )
    for command in ("check", "train"):
        assert run(command, list_config, tmp_path) == 2
        assert capsys.readouterr().err.splitlines()[-1] == expected
    (tmp_path / "config.yaml").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_names_are_reported_before_training(list_config, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("cat\ndog\n", encoding="utf-8")
    for command in ("check", "train"):
        assert run(command, list_config, tmp_path) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: Infer.PostProcess.class_id_map_file: ")
        assert "line 1: expected an index, a space and a name, got 'cat'" in error


def test_a_file_that_is_not_used_is_no_mistake(list_config, tmp_path):
    """The names of the training data are used instead; a file that does not exist is not needed for training."""
    (tmp_path / "images" / "label_list.txt").write_text("0 blue\n1 red\n", encoding="utf-8")
    assert run("check", list_config, tmp_path) == 0
    assert run("train", list_config, tmp_path) == 0
    (tmp_path / "images" / "label_list.txt").unlink()
    shutil.rmtree(tmp_path / "output")
    (tmp_path / "names.txt").unlink()
    assert run("check", list_config, tmp_path) == 0
    assert run("train", list_config, tmp_path) == 0
