"""The blocks of the FAQ are followed: the programs run, and the configuration trains.

The Chinese page has the same blocks (`test_chinese_pages.py`).
"""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest
import yaml
from helpers.documents import ROOT, read_blocks
from helpers.pictures import COLORS, paint
from helpers.small_runs import paint_class_folders, small_config, train_config

import ppzoo
from ppzoo.cli import main
from ppzoo.yaml_io import parse


def block_with(text: str) -> str:
    """Return the only block of the FAQ that contains a text."""
    (found,) = [block.text for block in read_blocks(ROOT / "docs" / "faq.md") if text in block.text]
    return found


def test_weights_without_a_classifier_become_complete(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = ppzoo.create_model("MobileNetV1_x0_25", class_num=4).state_dict()
    backbone = {name: value for name, value in trained.items() if not name.startswith("fc.")}
    paddle.save(backbone, "backbone.pdparams")
    exec(block_with("backbone.pdparams").replace("ResNet50_vd", "MobileNetV1_x0_25"), {})
    complete = ppzoo.weights.read_pdparams("start.pdparams")
    assert complete.keys() == trained.keys()
    assert all(np.array_equal(complete[name], backbone[name].numpy()) for name in backbone)


@pytest.mark.slow
def test_a_program_with_the_onnx_model_predicts_the_same(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    paint_class_folders(tmp_path / "images")
    paint(tmp_path / "photo.jpg", COLORS["red"], seed=5)
    config = small_config(tmp_path, "LeNet")
    config["Global"]["save_inference_dir"] = "inference/lenet"
    train_config(tmp_path, config)
    assert main(["export", "output/LeNet", "--format", "onnx"]) == 0
    capsys.readouterr()
    exec(block_with("onnxruntime"), {})
    printed = [float(number) for number in re.findall(r"\d\.\d*(?:e-?\d+)?", capsys.readouterr().out)]
    expected = ppzoo.Predictor("inference/lenet", engine="onnxruntime").probabilities(["photo.jpg"])[0]
    assert printed == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.slow
def test_images_that_are_not_square_can_be_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint_class_folders(tmp_path / "images")
    given = parse(block_with("channels, height, width"), "docs/faq.md")
    transforms = given["Infer"]["transforms"]
    config = small_config(tmp_path, "MobileNetV1_x0_25", ops=transforms)
    config["Global"] |= given["Global"]
    config["Infer"]["transforms"] = transforms
    train_config(tmp_path, config)
    assert main(["export", "output/MobileNetV1_x0_25"]) == 0
    settings = yaml.safe_load((tmp_path / "inference" / "inference.yml").read_text())
    assert settings["Deployment"]["image_shape"] == [3, 32, 96]
    predictor = ppzoo.Predictor("inference", engine="paddle")
    assert predictor.preprocess(np.zeros([50, 150, 3], np.uint8)).shape == (3, 32, 96)
    assert len(predictor.predict(["images/red/0.png"])[0]["scores"]) == len(COLORS)


@pytest.mark.slow
def test_images_can_be_rotated_without_cropping(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint_class_folders(tmp_path / "images")
    text = block_with("RandomRotation").replace("size: 224", "size: 32")
    transforms = parse(text, "docs/faq.md")["DataLoader"]["Train"]["dataset"]["transform_ops"]
    config = small_config(tmp_path, "MobileNetV1_x0_25", ops=transforms)
    steady = [step for step in transforms if not {"RandFlipImage", "RandomRotation", "ColorJitter"} & step.keys()]
    config["DataLoader"]["Eval"]["dataset"]["transform_ops"] = steady
    config["Infer"]["transforms"] = steady
    train_config(tmp_path, config)
    assert main(["export", "output/MobileNetV1_x0_25"]) == 0
