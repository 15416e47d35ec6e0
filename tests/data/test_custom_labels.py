"""`CustomLabelDataset`: a random transform of each sample sets its label."""

import copy

import cv2
import numpy as np
import pytest
import yaml
from helpers.small_runs import OPS, paint_class_folders, small_config, train_config

from ppzoo.builders import build_transforms
from ppzoo.cli import main
from ppzoo.data import DATASETS
from ppzoo.data.samples import Samples
from ppzoo.errors import ConfigError, DataError

TURNS = "random_rot90_orientation"


def dataset(folder, text="a.png\r\n\n b b.png \n", **options):
    for name in ("a.png", "b b.png"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), pixels)
    (folder / "list.txt").write_text(text)
    options = {"label_key": TURNS, **options}
    return DATASETS["CustomLabelDataset"](image_root=str(folder), sample_list_path=str(folder / "list.txt"), **options)


def test_labels_are_the_turns_of_the_images(tmp_path):
    images = dataset(tmp_path)
    samples = Samples(images, build_transforms([{"DecodeImage": {}}, {"RandomRot90": None}]), seed=3)
    plain = build_transforms([{"DecodeImage": {}}])
    labels = []
    for epoch in range(40):
        for index in range(2):
            sample = samples[epoch, index]
            expected = np.rot90(plain(images[index][0]), int(sample.label)).transpose(2, 0, 1)
            np.testing.assert_array_equal(sample.image, expected)
            assert sample.label.dtype == np.int64
            labels.append(int(sample.label))
            assert samples[epoch, index].label == sample.label
    assert set(labels) == {0, 1, 2, 3}


@pytest.mark.parametrize("ops", [["NormalizeImage", "BlurImage"], ["BlurImage", "NormalizeImage"]])
def test_labels_are_1_for_blurred_images(tmp_path, ops):
    images = dataset(tmp_path, label_key="blur_image")
    norm = {"NormalizeImage": {"order": ""}}
    steps = [{"DecodeImage": {}}, *(norm if name == "NormalizeImage" else {name: None} for name in ops)]
    samples = Samples(images, build_transforms(steps), seed=1)
    sharp = build_transforms([{"DecodeImage": {}}, norm])
    labels = []
    for epoch in range(30):
        sample = samples[epoch, 0]
        differs = bool(np.abs(sample.image - sharp(images[0][0]).transpose(2, 0, 1)).max() > 0.1)
        assert differs == bool(sample.label)
        labels.append(int(sample.label))
    assert set(labels) == {0, 1}


def test_random_numbers_do_not_depend_on_the_labels(tmp_path):
    images = dataset(tmp_path)
    ops = [{"DecodeImage": {}}, {"RandCropImage": {"size": 8}}, {"RandomRot90": None}]
    labeled = Samples(images, build_transforms(ops), seed=7)
    plain = Samples(DATASETS["ImageNetDataset"](**list_with_labels(tmp_path)), build_transforms(ops), seed=7)
    for epoch in range(5):
        np.testing.assert_array_equal(labeled[epoch, 1].image, plain[epoch, 1].image)


def list_with_labels(folder):
    (folder / "labels.txt").write_text("a.png 0\nb b.png 1\n")
    return {"image_root": str(folder), "cls_label_path": str(folder / "labels.txt")}


def test_paths_lines_and_delimiters(tmp_path):
    images = dataset(tmp_path)
    assert [images.index.path(index) for index in range(2)] == ["a.png", "b b.png"]
    assert images.origin(1).endswith("list.txt, line 3")
    assert images.labels.tolist() == [0, 1]
    images = dataset(tmp_path, "a.png\t3\nb b.png\t0\n", delimiter="\t")
    assert [images.index.path(index) for index in range(2)] == ["a.png", "b b.png"]


@pytest.mark.parametrize(
    ("text", "options", "kind", "message"),
    [
        ("a.png", {"label_key": "blur_imag"}, ConfigError, "label_key: unknown 'blur_imag'; did you mean 'blur_image'"),
        ("a.png", {"class_num": 3}, ConfigError, "label_key: expected Arch.class_num 4 for random_rot90_orientation"),
        ("\n \n", {}, DataError, "lists no images"),
        ("a\0.png", {}, DataError, "line 1: expected a path, got a NUL character"),
        ("a.png", {"delimiter": ""}, ConfigError, "delimiter: expected a character"),
    ],
)
def test_mistakes(tmp_path, text, options, kind, message):
    with pytest.raises(kind, match=message):
        dataset(tmp_path, text, **options)


def test_a_transform_has_to_set_the_label(tmp_path):
    transforms = build_transforms([{"DecodeImage": {}}, {"BlurImage": None}])
    with pytest.raises(ConfigError, match=r"label_key: expected a transform .* that sets 'random_rot90_.*got blur_im"):
        Samples(dataset(tmp_path), transforms, seed=0)


def test_training_on_rotated_images(tmp_path, capsys):
    images = paint_class_folders(tmp_path / "images", count=6)
    paths = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    (tmp_path / "paths.txt").write_text("\n".join(paths))
    config = small_config(tmp_path, "MobileNetV1_x0_25")
    config["Arch"]["class_num"] = 4
    section = copy.deepcopy(config["DataLoader"]["Train"])
    section["dataset"] = {
        "name": "CustomLabelDataset",
        "image_root": str(images),
        "sample_list_path": str(tmp_path / "paths.txt"),
        "label_key": TURNS,
        "transform_ops": [*OPS, {"RandomRot90": None}],
    }
    config["DataLoader"] = {"Train": section, "Eval": copy.deepcopy(section)}
    train_config(tmp_path, config)
    run = str(tmp_path / "output" / "MobileNetV1_x0_25")
    assert main(["eval", run]) == 0
    assert main(["infer", run, str(images / paths[0])]) == 0
    capsys.readouterr()
    assert main(["train", "-c", str(tmp_path / "config.yaml"), "-o", "Arch.class_num=3"]) == 2
    assert "label_key: expected Arch.class_num 4" in capsys.readouterr().err
    (tmp_path / "paths.txt").unlink()
    assert main(["train", "-c", str(tmp_path / "config.yaml")]) == 2
    assert "dataset.sample_list_path: expected a list file" in capsys.readouterr().err


def test_check_finds_that_no_transform_sets_the_label(tmp_path, capsys):
    config = small_config(tmp_path, "MobileNetV1_x0_25")
    config["Arch"]["class_num"] = 4
    section = copy.deepcopy(config["DataLoader"]["Train"])
    section["dataset"] = {
        "name": "CustomLabelDataset",
        "image_root": "not/there/yet",
        "sample_list_path": "list.txt",
        "label_key": TURNS,
        "transform_ops": OPS,
    }
    config["DataLoader"] = {"Train": section}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    assert main(["check", "-c", str(file)]) == 2
    expected = f"expected a transform in transform_ops that sets '{TURNS}', got none that sets a label"
    assert f"DataLoader.Train.dataset.label_key: {expected}" in capsys.readouterr().err
