"""Training the folds of a cross-validation."""

import json
import os
import shutil
import signal
import statistics

import pytest
import yaml
from helpers.small_runs import paint_class_folders, small_config

from ppzoo import builders
from ppzoo.cli import main
from ppzoo.config import load

OPTIONS = ("-o", "Global.epochs=2", "-o", "Global.use_visualdl=false", "--device", "cpu", "--quiet")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder, with three folds of small images and a test list."""
    monkeypatch.chdir(tmp_path)
    paint_class_folders(tmp_path / "photos", count=8)
    assert main(["data", "split", "photos", "--folds", "3", "--test", "0.1"]) == 0
    return tmp_path


def train(*options):
    return main(["train", "--arch", "LeNet", "--data", "photos_folds", *OPTIONS, *options])


def history(output, number):
    """The metrics of each epoch of a fold."""
    lines = (output / f"fold_{number}" / "LeNet" / "history.jsonl").read_text().splitlines()
    return [(entry["train"], entry["eval"]) for entry in map(json.loads, lines)]


def test_all_folds_are_trained_and_an_interrupted_one_is_resumed(folder, monkeypatch, capsys):
    assert train("--fold", "all") == 0
    printed = capsys.readouterr().out
    result = json.loads((folder / "output" / "folds.json").read_text())
    values = [max(evaluation["top1"] for _, evaluation in history(folder / "output", n)) for n in (1, 2, 3)]
    assert [fold["best"] for fold in result["folds"]] == values
    assert result["mean"] == pytest.approx(statistics.mean(values))
    assert result["standard_deviation"] == pytest.approx(statistics.stdev(values))
    expected = f"mean {statistics.mean(values):.4f}, standard deviation {statistics.stdev(values):.4f}"
    assert f"top1 of 3 folds: {expected}" in printed

    epochs = []

    def stop_in_the_second_fold(self, report):
        epochs.append(report)
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    again = ("--fold", "all", "-o", "Global.output_dir=again", "--resume", "auto")
    with monkeypatch.context() as patch:
        patch.setattr(builders.SummaryKeeper, "on_epoch_end", stop_in_the_second_fold, raising=False)
        assert train(*again) == 128 + signal.SIGINT
    assert not (folder / "again" / "folds.json").exists()
    finished = folder / "again" / "fold_1" / "LeNet" / "latest.pdparams"
    modified = finished.stat().st_mtime_ns
    assert train(*again) == 0
    assert finished.stat().st_mtime_ns == modified
    log = (folder / "again" / "fold_2" / "LeNet" / "train.log").read_text()
    assert log.count("epoch 1/2  train:") == log.count("epoch 2/2  train:") == 1
    assert json.loads((folder / "again" / "folds.json").read_text()) == result
    assert [history(folder / "again", n) for n in (1, 2, 3)] == [history(folder / "output", n) for n in (1, 2, 3)]


def test_events_end_with_the_result(folder, capsys):
    capsys.readouterr()
    assert train("--fold", "all", "-o", "Global.epochs=1", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["folder"] for event in events if event["event"] == "start"] == [
        f"output/fold_{number}/LeNet" for number in (1, 2, 3)
    ]
    result = json.loads((folder / "output" / "folds.json").read_text())
    assert events[-1] == {"event": "folds", **result}


def test_one_fold_of_a_configuration(folder, capsys):
    config = small_config(folder, "LeNet")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))  # its own images do not exist
    command = ["train", "-c", "config.yaml", "--data", "photos_folds", "--fold", "2", *OPTIONS]
    assert main(command) == 0
    run = load(folder / "output" / "fold_2" / "LeNet" / "config.yaml")
    for key, name in (("Train", "train_list.txt"), ("Eval", "val_list.txt")):
        dataset = run["DataLoader"][key]["dataset"]
        assert dataset["name"] == "ImageNetDataset"
        assert dataset["image_root"] == str(folder / "photos")
        assert dataset["cls_label_path"] == f"photos_folds/fold_2/{name}"
        assert dataset["transform_ops"]
    assert not (folder / "output" / "folds.json").exists()
    test_list = "DataLoader.Eval.dataset.cls_label_path=photos_folds/test_list.txt"
    assert main(["eval", "output/fold_2", "-o", test_list]) == 0


def test_a_run_is_not_resumed_with_other_lists(folder, capsys):
    assert train("--fold", "1") == 0
    assert main(["data", "split", "photos", "--folds", "3", "--seed", "7", "--overwrite"]) == 0
    capsys.readouterr()
    assert train("--fold", "all", "--resume", "auto") == 2
    assert "--resume: expected the lists with which the run in output/fold_1 was started" in capsys.readouterr().err
    assert not (folder / "output" / "fold_2").exists()


def test_the_result_of_another_architecture_stays(folder, capsys):
    (folder / "output").mkdir()
    (folder / "output" / "folds.json").write_text('{"arch": "AlexNet"}')
    assert train("--fold", "all") == 2
    assert "folds.json is the result of AlexNet: set another Global.output_dir" in capsys.readouterr().err
    assert [path.name for path in (folder / "output").iterdir()] == ["folds.json"]


def train_source(*options):
    return main(["train", *options, *OPTIONS])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--arch", "LeNet", "--fold", "1"),
            "--fold: expected --data with the folder that `ppzoo data split --folds` wrote, got no --data",
        ),
        (("--data", "photos_folds", "--fold", "1"), "--fold: expected either -c CONFIG or --arch NAME with it"),
        (("--arch", "LeNet", "--data", "photos_folds"), "--data: photos_folds has the folds of a cross-validation"),
        (
            ("--arch", "LeNet", "--data", "photos", "--fold", "1"),
            "--data: expected the folder that `ppzoo data split --folds` wrote, got 'photos', which has no split.json",
        ),
        (
            ("--arch", "LeNet", "--data", "nowhere", "--fold", "1"),
            "--data: expected the folder that `ppzoo data split --folds` wrote, got 'nowhere', which does not exist",
        ),
        (
            ("--arch", "LeNet", "--data", "photos_folds/split.json", "--fold", "1"),
            "--data: expected the folder that `ppzoo data split --folds` wrote, got 'photos_folds/split.json', which"
            " is a file",
        ),
        (
            ("--arch", "LeNet", "--data", "photos_folds", "--fold", "4"),
            "--fold: expected a number from 1 to 3, or all, got '4'",
        ),
        (
            ("--arch", "LeNet", "--data", "photos_folds", "--fold", "all", "--resume", "output/LeNet/latest"),
            "--resume: expected auto with --fold all",
        ),
        (
            ("--arch", "LeNet", "--data", "photos_folds", "--fold", "1", "-o", "Global.eval_during_train=false"),
            "Global.eval_during_train: expected True with --fold",
        ),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(folder, capsys, options, message):
    capsys.readouterr()
    assert train_source(*options) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")
    assert not (folder / "output").exists()


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"image_root": "../photos"}', '{"image_root": "../moved", "folds": 3}']
)
def test_a_damaged_description_is_one_line(folder, capsys, content):
    (folder / "photos_folds" / "split.json").write_text(content)
    assert train("--fold", "1") == 2
    assert capsys.readouterr().err.startswith("error: --data: ")


def test_a_missing_list_is_one_line(folder, capsys):
    shutil.rmtree(folder / "photos_folds" / "fold_3")
    assert train("--fold", "1") == 2
    assert "photos_folds/fold_3/train_list.txt is missing" in capsys.readouterr().err
