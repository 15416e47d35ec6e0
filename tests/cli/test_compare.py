"""`ppzoo compare`: what it prints and writes, with runs that are trained and reports that are made."""

import json
import shutil

import pytest
import yaml
from helpers.small_runs import paint_class_folders, small_config

from ppzoo.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPZOO_NATIVE", "off")
        folder = tmp_path_factory.mktemp("compare")
        paint_class_folders(folder / "images")
        for rate in (0.0001, 0.05):
            config = small_config(folder, "LeNet")
            config["Optimizer"]["lr"]["learning_rate"] = rate
            config["Global"].update(output_dir=str(folder / f"rate {rate}"), use_visualdl=False)
            path = folder / "config.yaml"
            path.write_text(yaml.safe_dump(config), encoding="utf-8")
            assert main(["train", "-c", str(path)]) == 0
            folders.append(folder / f"rate {rate}")
        assert all(main(["report", str(run)]) == 0 for run in folders)
    return folders


def test_the_text(runs, capsys):
    assert main(["compare", *map(str, runs)]) == 0
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[:2] == [f"run 1: {runs[0] / 'LeNet'}", f"run 2: {runs[1] / 'LeNet'}"]
    assert "Optimizer.lr.learning_rate 0.0001 0.05" in lines
    assert not any(line.startswith("Arch.") for line in lines)
    history = [json.loads((run / "LeNet" / "history.jsonl").read_text(encoding="utf-8")) for run in runs]
    best = " ".join(f"top1 {entry['eval']['top1']:.4f}" for entry in history)
    assert f"best main metric {best}" in lines
    right = [round(24 * entry["eval"]["top1"]) for entry in history]
    assert f"on the same 24 images, run 1 predicts {right[0]} correctly and run 2 {right[1]}; only run 1: " in printed
    assert "McNemar's exact test" in lines[-1]


def test_the_page(runs, tmp_path, capsys):
    assert main(["compare", *map(str, runs), "--output", str(tmp_path / "new"), "--lang", "zh"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {tmp_path}/new/comparison.html"
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"comparison.html", "comparison.json"}
    content = json.loads((tmp_path / "new" / "comparison.json").read_text(encoding="utf-8"))
    assert content["version"] == 1 and len(content["runs"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "RUN_FOLDER: expected the folder of a run, such as output/LeNet, got a path that does not exist"),
        (["."], "RUN_FOLDER: expected a folder in which training wrote config.yaml, got "),
    ],
)
def test_mistakes_are_one_line(runs, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", str(runs[0]), *arguments, "--output", "new"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and error[0].startswith(f"error: {message}")
    assert not (tmp_path / "new").exists()


def test_one_run_is_a_mistake(runs, capsys):
    assert main(["compare", str(runs[0])]) == 2
    assert capsys.readouterr().err == "error: compare: expected two runs or more, got 1\n"


def test_metrics_that_were_edited_wrongly_are_a_mistake(runs, tmp_path, capsys):
    copy = tmp_path / "LeNet"
    shutil.copytree(runs[1] / "LeNet", copy)
    config = yaml.safe_load((copy / "config.yaml").read_text(encoding="utf-8"))
    config["Arch"]["name"] = "NetworkOfTheUser"  # is not known here, and need not be
    for metric, problem in (
        ([3], "Metric: expected a mapping of Train, Eval, got the list [3]"),
        ({"Eval": [{"TopAcc": {}}]}, "Metric.Eval.0.TopAcc: expected the name of a metric, got 'TopAcc'; did you mean"),
    ):
        (copy / "config.yaml").write_text(yaml.safe_dump({**config, "Metric": metric}), encoding="utf-8")
        assert main(["compare", str(runs[0]), str(copy)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"error: {copy / 'config.yaml'}: {problem}")
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["compare", str(runs[0]), str(copy)]) == 0
