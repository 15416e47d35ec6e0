"""`class_weights: balanced` becomes numbers from the training labels, and evaluation uses the same numbers."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from helpers.small_runs import paint_class_folders, small_config

from ppzoo.builders import class_weights
from ppzoo.builders.class_weights import balance_classes, balanced_weights
from ppzoo.builders.component_factory import components
from ppzoo.cli import main
from ppzoo.config import Config
from ppzoo.errors import ConfigError

BALANCED = [{"CELoss": {"class_weights": "balanced"}}]
WEIGHTS = [12 / (2 * 8), 12 / (2 * 4)]


@pytest.fixture
def config(tmp_path):
    paint_class_folders(tmp_path / "images", ["blue"], count=8)
    paint_class_folders(tmp_path / "images", ["red"], count=4)
    shutil.copytree(tmp_path / "images", tmp_path / "held_out")
    config = small_config(tmp_path, "LeNet")
    config["DataLoader"]["Eval"]["dataset"]["image_root"] = str(tmp_path / "held_out")
    config["Loss"] = {"Train": BALANCED, "Eval": BALANCED}
    return config


def write(tmp_path, config):
    file = tmp_path / "original.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def test_weights_are_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 0, 0, 0, 2, 2, 3])
    assert balanced_weights(labels, 5) == pytest.approx([9 / (3 * 6), 0, 9 / (3 * 2), 9 / 3, 0])


def test_a_run_records_the_weights_and_evaluates_with_them_without_training_data(tmp_path, config, capsys):
    file = write(tmp_path, config)
    assert main(["train", "-c", str(file)]) == 0
    run = tmp_path / "output" / "LeNet"
    resolved = yaml.safe_load((run / "config.yaml").read_text())
    for split in ("Train", "Eval"):
        assert resolved["Loss"][split][0]["CELoss"]["class_weights"] == WEIGHTS
    assert (run / "train.log").read_text().count("class_weights balanced: 0.75, 1.5\n") == 1
    shutil.rmtree(tmp_path / "images")
    weights = f"Global.pretrained_model={run / 'latest'}"
    losses = []
    for source in (run / "config.yaml", file):
        capsys.readouterr()
        assert main(["eval", "-c", str(source), "-o", weights, "--json", "--quiet"]) == 0
        losses.append(yaml.safe_load(capsys.readouterr().out.splitlines()[-1])["loss"])
    plain = [*("-o", weights), *("-o", "Loss.Eval.0.CELoss.class_weights=null")]
    assert main(["eval", "-c", str(file), *plain, "--json", "--quiet"]) == 0
    unweighted = yaml.safe_load(capsys.readouterr().out.splitlines()[-1])["loss"]
    assert losses[0] == losses[1] != unweighted


def test_a_resumed_run_has_the_same_weights(tmp_path, config):
    file = write(tmp_path, config)
    assert main(["train", "-c", str(file)]) == 0
    assert main(["train", "-c", str(file), "-o", "Global.epochs=2", "--resume", "auto"]) == 0
    resolved = yaml.safe_load((tmp_path / "output" / "LeNet" / "config.yaml").read_text())
    assert resolved["Loss"]["Train"][0]["CELoss"]["class_weights"] == WEIGHTS


def test_a_class_without_training_images_has_the_weight_0_and_is_named(tmp_path, config):
    config["Global"]["class_names"] = ["blue", "green", "red"]
    assert main(["train", "-c", str(write(tmp_path, config))]) == 0
    log = (tmp_path / "output" / "LeNet" / "train.log").read_text()
    assert "class_weights balanced: 0.75, 0, 1.5; 0 for classes without training images: green\n" in log


def test_another_text_gets_the_nearest_name(tmp_path, config, capsys):
    config["Loss"]["Train"] = [{"CELoss": {"class_weights": "balance"}}]
    assert main(["train", "-c", str(write(tmp_path, config))]) == 2
    line = capsys.readouterr().err
    assert "Loss.Train.0.CELoss.class_weights: expected " in line and "did you mean 'balanced'?" in line


def test_an_evaluation_without_known_training_labels_is_refused(tmp_path, config, capsys):
    file = write(tmp_path, config)
    assert main(["train", "-c", str(file)]) == 0
    weights = shutil.copy(tmp_path / "output" / "LeNet" / "latest.pdparams", tmp_path / "copy.pdparams")
    capsys.readouterr()
    assert main(["eval", "-c", str(file), "-o", f"Global.pretrained_model={weights}"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Loss.Eval.0.CELoss.class_weights: expected a list of numbers, since the training labels are unknown" in line


@pytest.mark.parametrize("dataset", ["MultiLabelDataset", "ImageFolder"])
def test_several_labels_per_image_are_refused_with_the_reason(dataset, tmp_path, config, capsys):
    config["Global"]["use_multilabel"] = True
    config["DataLoader"]["Train"]["dataset"]["name"] = dataset
    assert main(["train", "-c", str(write(tmp_path, config))]) == 2
    lines = capsys.readouterr().err
    assert "Loss.Train.0.CELoss: expected " in lines and "since Global.use_multilabel is true, got CELoss" in lines
    assert not (tmp_path / "output").exists()


def test_a_dataset_without_single_labels_is_refused():
    config = Config.parse({"Arch": {"name": "LeNet"}, "Loss": {"Train": BALANCED}}, components(), task=None)
    images = SimpleNamespace(labels=np.array([[0, 1], [1, 1]]), classes=None)
    with pytest.raises(ConfigError, match=r"^Loss.Train.0.CELoss.class_weights: .* can have several labels each, got"):
        balance_classes(config, images, 2)


def test_classes_of_the_network_that_the_data_does_not_name_get_the_weight_0(caplog, monkeypatch):
    monkeypatch.setattr(class_weights.logger, "propagate", True)
    config = Config.parse({"Arch": {"name": "LeNet"}, "Loss": {"Train": BALANCED}}, components(), task=None)
    images = SimpleNamespace(labels=np.array([0, 1, 1]), classes=["blue", "red"])
    with caplog.at_level("INFO", logger="ppzoo"):
        balanced = balance_classes(config, images, 4)
    assert balanced.Loss.Train[0].spec.options["class_weights"] == pytest.approx([3 / 2, 3 / 4, 0, 0])
    assert caplog.messages[-1].endswith("; 0 for classes without training images: 2, 3")
