"""Distillation with a loss whose layers are trained: they are saved, resumed, and not needed afterwards."""

import numpy as np
import pytest
import yaml
from helpers.small_runs import command, paint_class_folders, small_config

from ppzoo.cli import main
from ppzoo.weights import read_pdparams

LAYERS = "losses.DistillationPairLoss_1"
TRAIN = [
    {"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}},
    {
        "DistillationPairLoss": {
            "weight": 1.0,
            "base_loss_name": "MGDLoss",
            "model_name_pairs": [["Student", "Teacher"]],
            "s_keys": ["pool2"],
            "t_keys": ["pool2"],
            "student_channels": 16,
            "teacher_channels": 16,
            "name": "loss_mgd",
        }
    },
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    paint_class_folders(folder / "images")
    config = small_config(folder, "DistillationModel", topk=2)
    config["Global"] |= {"epochs": 2, "save_interval": 1}
    config["Optimizer"]["lr"]["learning_rate"] = 0.02
    network = {"name": "LeNet", "return_patterns": ["pool2"]}
    config["Arch"] |= {
        "class_num": 3,
        "freeze_params_list": [True, False],
        "models": [{"Teacher": network}, {"Student": network}],
    }
    config["Loss"]["Train"] = TRAIN
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def run(workspace):
    assert main(command("train", workspace)) == 0
    return workspace / "output" / "DistillationModel"


def test_layers_of_the_loss_are_trained_and_saved(run):
    first, second = (read_pdparams(run / f"epoch_{epoch}.pdparams") for epoch in (1, 2))
    keys = {key for key in first if key.startswith(f"{LAYERS}.")}
    assert keys == {f"{LAYERS}.generation.{index}.{kind}" for index in (0, 2) for kind in ("weight", "bias")}
    assert not any(np.array_equal(first[key], second[key]) for key in keys)
    assert np.array_equal(first["Teacher.conv1.weight"], second["Teacher.conv1.weight"])
    assert not any("losses" in key for key in read_pdparams(run / "latest_student.pdparams"))


def test_a_resumed_run_is_bit_identical(workspace, run, tmp_path):
    other = f"Global.output_dir={tmp_path}"
    assert main(command("train", workspace, other, f"Global.checkpoints={run / 'epoch_1'}")) == 0
    expected = read_pdparams(run / "latest.pdparams")
    resumed = read_pdparams(tmp_path / "DistillationModel" / "latest.pdparams")
    assert expected.keys() == resumed.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(resumed[key], value, err_msg=key)


@pytest.mark.parametrize("name", ["latest", "latest_student"])
def test_later_steps_do_not_need_the_loss(workspace, run, name, tmp_path):
    weights = f"Global.pretrained_model={run / name}"
    assert main(command("eval", workspace, weights)) == 0
    assert main(command("infer", workspace, weights)) == 0
    assert main(command("export", workspace, weights, f"Global.save_inference_dir={tmp_path / 'export'}")) == 0
    if name == "latest":
        assert main(command("train", workspace, weights, f"Global.output_dir={tmp_path}", "Global.epochs=1")) == 0


def test_missing_layers_are_reported_before_the_training(workspace, capsys):
    path = "Loss.Train.1.DistillationPairLoss"
    assert main(command("check", workspace, f"{path}.s_keys=[pool1]")) == 2
    expected = f"{path}.s_keys: expected an output of Student (logits, pool2), got 'pool1'"
    assert expected in capsys.readouterr().err
    assert main(command("check", workspace, f"{path}.lambda_mgd=2")) == 2
    assert f"{path}.lambda_mgd: expected a probability" in capsys.readouterr().err
