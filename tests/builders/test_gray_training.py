"""Training, inference, exports and pictures of a network for images of one channel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.small_runs import paint_class_folders, small_config, train_config

import ppzoo
from ppzoo.cli import main

GRAY_OPS = [
    {"DecodeImage": {"channels": 1}},
    {"ResizeImage": {"size": 32}},
    {"NormalizeImage": {"mean": [0.5], "std": [0.5], "order": ""}},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images and a run that was trained on them in gray."""
    folder = tmp_path_factory.mktemp("gray")
    paint_class_folders(folder / "images")
    config = small_config(folder, "LeNet", ops=GRAY_OPS)
    config["Global"]["image_shape"] = [1, 32, 32]
    config["Arch"]["in_channels"] = 1
    train_config(folder, config)
    return folder


def test_an_export_predicts_gray_and_color_images(folder):
    assert main(["export", str(folder / "output" / "LeNet")]) == 0
    predictor = ppzoo.Predictor(folder / "inference")
    color = np.full((40, 50, 3), (200, 30, 30), np.uint8)
    gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis]
    first, second = predictor.predict([color, gray])
    assert first == second
    assert main(["explain", str(folder / "inference"), str(folder / "images"), "--output", str(folder / "maps")]) == 0
    assert any((folder / "maps").iterdir())


def test_the_channels_have_to_fit(folder, capsys):
    command = ["train", "-c", str(folder / "config.yaml"), "-o", f"Global.output_dir={folder / 'other'}"]
    assert main([*command, "-o", "Arch.in_channels=3"]) == 2
    assert "Arch.in_channels: expected the channels of Global.image_shape (1), got 3" in capsys.readouterr().err
    assert not (folder / "other").exists()


def test_the_transforms_have_to_give_as_many_channels(folder, capsys):
    command = ["train", "-c", str(folder / "config.yaml"), "-o", f"Global.output_dir={folder / 'other'}"]
    assert main([*command, "-o", "DataLoader.Train.dataset.transform_ops.0.DecodeImage.channels=3"]) == 2
    assert "NormalizeImage: expected an image with 1 channel" in capsys.readouterr().err
