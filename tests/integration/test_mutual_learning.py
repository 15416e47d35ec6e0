"""Two networks that learn from each other, with a loss of inner layers, as in PaddleClas's recipe of safety_helmet."""

import json

import numpy as np
import pytest
import yaml
from helpers.small_runs import command, paint_class_folders, small_config

import ppzoo
from ppzoo.cli import main
from ppzoo.weights import read_pdparams

NAMES = ["Student", "Teacher"]
TRAIN = [
    {"DistillationGTCELoss": {"weight": 1.0, "key": "logits", "model_names": NAMES}},
    {"DistillationDMLLoss": {"weight": 1.0, "key": "logits", "model_name_pairs": [NAMES]}},
    {"DistillationDistanceLoss": {"weight": 1.0, "key": "pool2", "model_name_pairs": [NAMES]}},
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutual")
    paint_class_folders(folder / "images")
    config = small_config(folder, "DistillationModel", topk=2)
    config["Global"] |= {"epochs": 2, "save_interval": 1}
    config["Optimizer"]["lr"]["learning_rate"] = 0.02
    network = {"name": "LeNet", "return_stages": True, "return_patterns": ["pool1", "pool2"]}
    config["Arch"] |= {
        "class_num": 3,
        "pretrained_list": None,
        "freeze_params_list": [False, False],
        "models": [{"Teacher": network}, {"Student": network}],
        "infer_model_name": "Student",
    }
    config["Loss"]["Train"] = TRAIN
    config["Metric"]["Train"] = [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1]}}]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def run(workspace):
    assert main(command("train", workspace)) == 0
    return workspace / "output" / "DistillationModel"


def logged(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_both_networks_learn(workspace, run):
    weights = {name: read_pdparams(run / f"{name}.pdparams") for name in ("epoch_1", "epoch_2")}
    for name in NAMES:
        key = f"{name}.conv1.weight"
        assert not np.array_equal(weights["epoch_1"][key], weights["epoch_2"][key])
    assert not np.array_equal(weights["epoch_2"]["Student.conv1.weight"], weights["epoch_2"]["Teacher.conv1.weight"])


def test_plain_losses_and_metrics_evaluate_the_student(workspace, run, capsys):
    both, alone = (f"Global.pretrained_model={run / name}" for name in ("latest", "latest_student"))
    values = []
    for weights in (both, alone):
        assert main(command("eval", workspace, weights)) == 0
        values.append(capsys.readouterr().out)
    assert values[0] == values[1]
    named = "Metric.Eval=[{DistillationTopkAcc: {model_key: Student, topk: [1]}}]"
    assert (
        main(command("eval", workspace, both, "Loss.Eval=[{DistillationGTCELoss: {model_names: [Student]}}]", named))
        == 0
    )
    assert capsys.readouterr().out.split()[1::2] == values[0].split()[1::2]


def test_a_resumed_run_ends_with_the_same_weights(workspace, run, tmp_path):
    again = (f"Global.output_dir={tmp_path}", f"Global.checkpoints={run / 'epoch_1'}")
    assert main(command("train", workspace, *again)) == 0
    expected, weights = (read_pdparams(folder / "latest.pdparams") for folder in (run, tmp_path / "DistillationModel"))
    assert all(np.array_equal(expected[key], weights[key]) for key in expected)


def test_only_the_student_is_exported(workspace, run):
    assert main(command("export", workspace, f"Global.pretrained_model={run / 'best_model'}")) == 0
    images = sorted((workspace / "images").rglob("*.png"))[:3]
    predicted = ppzoo.Predictor(workspace / "inference").predict([str(path) for path in images], topk=2)
    network = ppzoo.create_model("LeNet", pretrained=str(run / "best_model_student"), class_num=3)
    assert len(predicted) == 3 and len(network.state_dict()) * 2 == len(read_pdparams(run / "best_model.pdparams"))


def test_the_other_network_can_be_deployed(workspace, run, tmp_path):
    other = (f"Global.pretrained_model={run / 'best_model'}", "Arch.infer_model_name=Teacher")
    assert main(command("export", workspace, *other, f"Global.save_inference_dir={tmp_path}")) == 0


def test_a_static_graph_gives_the_same_weights(workspace, run, tmp_path):
    assert main(command("train", workspace, f"Global.output_dir={tmp_path}", "Global.to_static=true")) == 0
    weights = [read_pdparams(path / "latest.pdparams") for path in (run, tmp_path / "DistillationModel")]
    for key, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][key], atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["Loss.Train.2.DistillationDistanceLoss.key=pool3"],
            "Loss.Train.2.DistillationDistanceLoss.key: expected an output of Student (logits, pool1, pool2), got"
            " 'pool3'; add it to return_patterns of Student",
        ),
        (
            ["Arch.models.0.Teacher.return_patterns=[pool3]", "Loss.Train.2.DistillationDistanceLoss.key=logits"],
            "Arch.models: return_patterns: expected an inner layer of Teacher, got 'pool3'; did you mean 'pool2'?",
        ),
        (
            ["Arch.models.0.Teacher.return_patterns=null", "Loss.Train.2.DistillationDistanceLoss.key=logits"],
            "Arch.models.0.Teacher.return_stages: expected layers in return_patterns as well, got only true",
        ),
        (["Arch.freeze_params_list=[true, true]"], "Arch.freeze_params_list: expected false for Student"),
        (
            ["Loss.Train=[{DistillationGTCELoss: {model_names: [Student]}}]"],
            "Arch.freeze_params_list: expected true for Teacher, which no loss in Loss.Train trains, got false",
        ),
    ],
)
def test_mistakes_are_found_before_training(workspace, overrides, line, capsys):
    assert main(command("check", workspace, *overrides)) == 2
    assert line in capsys.readouterr().err
