"""`ppzoo report` and `ppzoo eval --report`: the files of runs and exports, and mistakes."""

import csv
import io
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.pictures import COLORS, paint
from helpers.small_runs import paint_class_folders, small_config
from helpers.terminals import run_on_terminal

from ppzoo.builders import report_facts
from ppzoo.cli import main

FILES = ["confusion.csv", "predictions.csv", "report.html", "report.json"]
HOSTILE = ['"a", b', "<script>alert(1)<", "=1+1", "类别 一"]


@pytest.fixture
def run(run_folder, tmp_path, monkeypatch):
    """A copy of the run as output/LeNet in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report_facts, "SPEED_SECONDS", 0.01)
    shutil.copytree(run_folder, tmp_path / "output" / "LeNet")
    return tmp_path / "output" / "LeNet"


def read(folder):
    assert sorted(file.name for file in folder.iterdir()) == FILES
    with open(folder / "report.json", encoding="utf-8") as file:
        report = json.load(file)
    tables = []
    for name in ("predictions.csv", "confusion.csv"):
        with open(folder / name, encoding="utf-8", newline="") as file:
            tables.append(list(csv.reader(file)))
    return report, *tables


def printed_metrics(text):
    words = text.splitlines()[0].split()
    return dict(zip(words[::2], words[1::2], strict=True))


def check_consistency(report, predictions, confusion):
    """Check that the parts of a report with one label per image agree."""
    header, *rows = predictions
    assert header[:3] == ["file", "label", "label_name"] and len(rows) == report["images"]
    labels, predicted = (np.array([int(row[column]) for row in rows]) for column in (1, 3))
    assert np.mean(labels == predicted) == pytest.approx(report["metrics"]["top1"])
    assert [int(row[8]) for row in rows] == (labels == predicted).astype(int).tolist()
    assert np.mean([float(row[7]) for row in rows]) == pytest.approx(report["metrics"]["loss"], rel=1e-5)
    assert all(row[2] == report["classes"][int(row[1])] for row in rows)
    assert confusion[0] == ["", *report["classes"]]
    dense = np.array([[int(count) for count in row[1:]] for row in confusion[1:]])
    for label, prediction, count in report["confusion"]:
        assert dense[label, prediction] == count
    assert dense.sum() == len(rows) == sum(count for *_, count in report["confusion"])
    assert [entry["support"] for entry in report["per_class"]] == np.bincount(labels, minlength=len(dense)).tolist()


def test_the_report_of_a_run_has_the_metrics_of_eval(run, capsys):
    assert main(["eval", "output", "--device", "cpu"]) == 0
    expected = printed_metrics(capsys.readouterr().out)
    assert main(["report", "output", "--device", "cpu"]) == 0
    sentence, path = capsys.readouterr().out.splitlines()
    assert path == "report: output/LeNet/report/report.html"
    report, predictions, confusion = read(run / "report")
    assert {name: f"{value:.4f}" for name, value in report["metrics"].items()} == expected
    assert sentence.startswith(f"{expected['top1']} top-1; ")
    check_consistency(report, predictions, confusion)
    assert report["kind"] == "run" and report["task"] == "single_label" and report["main"] == "top1"
    assert report["classes"] == sorted(COLORS)
    assert [entry["epoch"] for entry in report["curves"]] == [1] and report["interrupted"] is None
    assert report["model"]["parameters"] > 1000 and report["model"]["flops"] > 1000
    assert report["model"]["file_bytes"] == (run / "best_model.pdparams").stat().st_size
    assert report["speed"]["images_per_second"] > 0
    assert report["data"]["eval"]["per_class"] == [2, 2, 2] and report["data"]["train"]["per_class"] == [8, 8, 8]
    assert report["data"]["sizes"] == [[48, 40, 6]] and report["data"]["duplicate_count"] == 0
    for images in report["gallery"].values():
        assert all(image["thumbnail"].startswith("data:image/jpeg;base64,") for image in images)
        assert all(image["overlay"].startswith("data:image/jpeg;base64,") for image in images)
    assert len(report["map"]["points"]) == 6 and all(len(point) == 4 for point in report["map"]["points"])
    assert "Arch" in yaml.safe_load(report["config"])
    assert report["environment"]["device"] == "cpu"


def test_the_map_can_be_computed_with_tsne(run):
    pytest.importorskip("sklearn")
    assert main(["report", "output", "--device", "cpu", "--map", "tsne"]) == 0
    points = read(run / "report")[0]["map"]
    assert points["method"] == "tsne" and len(points["points"]) == 6
    assert "(t-SNE)" in (run / "report" / "report.html").read_text(encoding="utf-8")


def test_tsne_without_scikit_learn_is_refused_before_the_evaluation(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    assert main(["report", "output", "--device", "cpu", "--map", "tsne"]) == 2
    problem = (
        "--map: tsne needs scikit-learn, which is not installed: run `pip install 'ppzoo[explain]'`"
        " (in a clone: `pip install -e '.[explain]'`)"
    )
    assert capsys.readouterr() == ("", f"error: {problem}\n")
    assert not (run / "report").exists()


def test_progress_is_drawn_on_a_terminal_only(run, capfd):
    code = "from ppzoo import terminal; terminal.MIN_SECONDS = 0; from ppzoo.cli import console; console()"
    session = run_on_terminal(["-c", code, "report", "output", "--device", "cpu"], columns=100)
    assert session.status == 0 and session.has_cursor
    for work in ("evaluating", "Grad-CAM overlays"):
        assert re.search(rf"{work} .*\d/\d+ \w+  0:\d\d left", session.raw), work
    assert "left" not in "\n".join(session.lines)  # the bars are gone
    capfd.readouterr()
    assert main(["report", "output", "--device", "cpu"]) == 0
    printed, logged = capfd.readouterr()
    assert len(printed.splitlines()) == 2 and "\r" not in logged and "left" not in logged


def test_eval_with_report_prints_the_metrics_and_writes_the_same_files(run, capsys):
    assert main(["eval", "output", "--device", "cpu"]) == 0
    expected = capsys.readouterr().out
    assert main(["eval", "output", "--device", "cpu", "--report"]) == 0
    assert capsys.readouterr().out.startswith(expected)
    check_consistency(*read(run / "report"))
    assert '<html lang="en"' in (run / "report" / "report.html").read_text(encoding="utf-8")
    assert main(["eval", "output", "--device", "cpu", "--report", "--lang", "zh"]) == 0
    assert '<html lang="zh' in (run / "report" / "report.html").read_text(encoding="utf-8")
    assert main(["eval", "output", "--lang", "zh"]) == 2
    message = "error: --lang: expected it together with --report, got --lang zh alone"
    assert message in capsys.readouterr().err
    assert main(["eval", "output", "--device", "cpu", "--report", "--json"]) == 0
    metrics, path = map(json.loads, capsys.readouterr().out.splitlines())
    assert metrics.keys() == printed_metrics(expected).keys()
    assert path == {"report": "output/LeNet/report/report.html"}


def test_an_interrupted_run_and_a_damaged_history(run):
    assert main(["report", "output", "-o", "Global.epochs=10", "--output", "first"]) == 0
    assert read(Path("first"))[0]["interrupted"] == {"epoch": 1, "epochs": 10}
    (run / "history.jsonl").write_text('{"epoch": 1, "tr')
    assert main(["report", "output", "--output", "second"]) == 0
    report = read(Path("second"))[0]
    assert report["curves"] is None and any("history.jsonl is damaged" in note for note in report["notes"])


def test_a_run_that_was_killed_in_its_first_epoch(run, check_page):
    for file in ("history.jsonl", "curves.png"):
        (run / file).unlink()
    for file in run.glob("best_model.*"):
        file.unlink()
    assert main(["report", "output"]) == 0
    report, predictions, confusion = read(run / "report")
    check_consistency(report, predictions, confusion)
    assert report["curves"] is None and report["interrupted"] == {"epoch": 0, "epochs": 1}
    assert report["model"]["file_bytes"] == (run / "latest.pdparams").stat().st_size
    assert "curves" not in check_page(run / "report" / "report.html")


def test_a_run_without_weights_is_a_mistake(run, capsys):
    for file in run.glob("*.pdparams"):
        file.unlink()
    assert main(["report", "output"]) == 2
    assert "RUN_FOLDER: expected weights (best_model.pdparams or latest.pdparams)" in capsys.readouterr().err
    assert not (run / "report").exists()


def test_a_run_without_its_training_data(run, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["DataLoader"]["Train"]["dataset"]["image_root"] = str(tmp_path / "missing")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["report", "output"]) == 0
    report = read(run / "report")[0]
    assert report["data"]["train"] is None and report["data"]["duplicates"] is None
    assert any(note.startswith("The training data cannot be read") for note in report["notes"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("missing.png 0", "restore the file or correct its path in the list"),
        ("images/red/1.png 7", "label 7 is outside [0, class_num = 3), got 'images/red/1.png 7': correct the label"),
    ],
)
def test_a_mistake_in_a_list_for_an_export_is_fixed_in_the_list(run, photos, capsys, line, message):
    shutil.copytree(photos / "red", "images/red")
    assert main(["export", "output"]) == 0
    Path("list.txt").write_text(f"images/red/0.png 2\n{line}\n")
    (export,) = Path("inference").iterdir()
    capsys.readouterr()
    assert main(["report", str(export), "--data", "list.txt"]) == 2
    assert capsys.readouterr().err.endswith(f"{message}\n")
    assert not (export / "report").exists()


def test_another_folder_of_images(run, photos):
    shutil.copytree(photos / "red", "images/red")
    assert main(["report", "output", "--data", "images"]) == 0
    report, predictions, confusion = read(run / "report")
    assert report["images"] == 10 and report["data"]["eval"]["per_class"] == [0, 0, 10]
    check_consistency(report, predictions, confusion)
    blue = report["per_class"][0]
    assert blue["recall"] is None and blue["support"] == 0
    assert report["data"]["duplicate_count"] == 8  # the split's training part
    assert report["data"]["duplicates"][0]["eval"].startswith("images/red/")


def test_one_image(run, photos, check_page):
    Path("images/red").mkdir(parents=True)
    shutil.copy(photos / "red" / "1.png", "images/red/1.png")
    assert main(["report", "output", "--data", "images"]) == 0
    report, predictions, confusion = read(run / "report")
    assert report["images"] == 1
    check_consistency(report, predictions, confusion)
    assert "confusion" in check_page(run / "report" / "report.html")


def test_an_export_alone(run, photos, capsys, check_page):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    assert main(["report", "output", "--data", str(photos), "--output", "of_run"]) == 0
    shutil.rmtree("output")
    assert main(["report", "exported", "--data", str(photos), "--device", "cpu"]) == 0
    expected, received = read(Path("of_run")), read(Path("exported/report"))
    check_consistency(*received)
    assert received[0]["kind"] == "export" and received[0]["title"] == "LeNet"
    assert received[0]["metrics"]["top1"] == expected[0]["metrics"]["top1"]
    assert received[0]["metrics"]["loss"] == pytest.approx(expected[0]["metrics"]["loss"], abs=1e-4)
    assert received[0]["confusion"] == expected[0]["confusion"]
    for key in ("parameters", "flops", "flops_input"):
        assert received[0]["model"][key] == expected[0]["model"][key] is not None
    np.testing.assert_allclose(received[0]["map"]["points"], expected[0]["map"]["points"], atol=1e-3)
    assert received[0]["gallery"]["highest_loss"][0]["overlay"].startswith("data:image/jpeg;base64,")
    assert received[0]["curves"] is None and received[0]["data"]["train"] is None
    assert any("no training history" in note for note in received[0]["notes"])
    capsys.readouterr()
    assert main(["infer", "exported", str(photos)]) == 0  # the report has not changed the export
    assert {"gallery", "map", "model"} <= set(check_page(Path("exported/report/report.html")))


def test_a_damaged_image_is_reported_without_keys_that_exports_do_not_have(run, photos, tmp_path, capsys):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    damaged = shutil.copytree(photos, tmp_path / "damaged")
    min(damaged.rglob("*.*")).write_text("no image")
    assert main(["report", "exported", "--data", str(damaged)]) == 2
    assert capsys.readouterr().err.endswith("is damaged: replace or remove it\n")


@pytest.mark.parametrize("name", [None, "NoSuchNet", "ResNet18"])
def test_an_export_whose_network_cannot_be_built(run, photos, name):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    settings = yaml.safe_load(Path("exported/inference.yml").read_text())
    del settings["Arch"]  # as in the exports of PaddleClas
    settings["Global"] = {"model_name": name} if name else {}
    Path("exported/inference.yml").write_text(yaml.safe_dump(settings))
    assert main(["report", "exported", "--data", str(photos), "--lang", "zh"]) == 0
    report = read(Path("exported/report"))[0]
    assert any(text.startswith("The network of the export cannot be built, so ") for text in report["notes"])
    assert report["map"] is None and report["model"]["parameters"] is None
    assert all(image["overlay"] is None for images in report["gallery"].values() for image in images)
    assert report["per_class"] and report["model"]["file_bytes"] and report["speed"]


def write_shards(folder, photos):
    """Write the images of class folders as a shard, with class names."""
    folder.mkdir()
    with tarfile.open(folder / "0.tar", "w") as shard:
        for number, image in enumerate(sorted(photos.glob("*/*.png"))):
            shard.add(image, f"{number}.png")
            label = tarfile.TarInfo(f"{number}.cls")
            label.size = len(image.parent.name)
            shard.addfile(label, io.BytesIO(image.parent.name.encode()))
    return folder


def write_list(file, photos):
    """Write a list of the images of class folders, with class indices."""
    images = sorted(photos.glob("*/*.png"))
    names = sorted({image.parent.name for image in images})
    file.write_text("".join(f"{image} {names.index(image.parent.name)}\n" for image in images), encoding="utf-8")
    return file


def test_data_in_tar_files_and_list_files(run, photos, tmp_path):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    shards, listed = write_shards(tmp_path / "shards", photos), write_list(tmp_path / "list.txt", photos)
    for source in ("output", "exported"):
        found = []
        for number, images in enumerate((photos, shards, listed)):
            assert main(["report", source, "--data", str(images), "--output", str(number)]) == 0
            found.append(read(Path(str(number)))[0])
        for other in found[1:]:
            for key in ("classes", "metrics", "confusion"):
                assert other[key] == found[0][key], key


def test_a_label_that_the_export_does_not_have(run, photos, tmp_path, capsys):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    settings = yaml.safe_load(Path("exported/inference.yml").read_text())
    settings["PostProcess"]["Topk"]["label_list"] = []
    Path("exported/inference.yml").write_text(yaml.safe_dump(settings))
    listed = write_list(tmp_path / "list.txt", photos)
    assert main(["report", "exported", "--data", str(listed)]) == 0
    assert read(Path("exported/report"))[0]["classes"] == ["0", "1", "2"]
    with listed.open("a") as file:
        file.write(f"{next(photos.glob('*/*.png'))} 7\n")
    capsys.readouterr()
    assert main(["report", "exported", "--data", str(listed)]) == 2
    assert "error: --data: expected labels from 0 to 2, got 7" in capsys.readouterr().err


def test_an_export_with_several_labels_per_image_needs_a_list_file(run, photos, capsys):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    settings = yaml.safe_load(Path("exported/inference.yml").read_text())
    names = settings["PostProcess"]["Topk"]["label_list"]
    settings["PostProcess"] = {"MultiLabelThreshOutput": {"threshold": 0.5, "label_list": names}}
    Path("exported/inference.yml").write_text(yaml.safe_dump(settings))
    capsys.readouterr()
    assert main(["report", "exported", "--data", str(photos)]) == 2
    assert "error: --data: expected a list file with lines such as" in capsys.readouterr().err


def test_an_export_without_class_names(run, photos, capsys):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    settings = yaml.safe_load(Path("exported/inference.yml").read_text())
    settings["PostProcess"]["Topk"]["label_list"] = []
    Path("exported/inference.yml").write_text(yaml.safe_dump(settings))
    assert main(["report", "exported", "--data", str(photos)]) == 0
    report = read(Path("exported/report"))[0]
    assert report["classes"] == sorted(COLORS) and any("no class names" in note for note in report["notes"])
    shutil.copytree(photos / "red", "images/red")
    assert main(["report", "exported", "--data", "images"]) == 2
    assert "--data: expected 3 classes, those of the export, got 1" in capsys.readouterr().err


def test_hostile_names_of_classes_and_files(tmp_path, monkeypatch, check_page):
    monkeypatch.chdir(tmp_path)
    paint_class_folders(tmp_path / "images", HOSTILE)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(small_config(tmp_path, "LeNet")))
    assert main(["train", "-c", "config.yaml"]) == 0
    files = [b"images/=1+1/line\nend.png", b'images/=1+1/\xff, "quoted".png']
    for number, name in enumerate(files):
        paint(tmp_path / "plain.png", (9, 9, 9), seed=number)
        shutil.copy(tmp_path / "plain.png", name.decode(errors="surrogateescape"))
    assert main(["report", "output"]) == 0
    report, predictions, confusion = read(tmp_path / "output" / "LeNet" / "report")
    assert report["classes"] == sorted(HOSTILE) and report["images"] == 34
    check_consistency(report, predictions, confusion)
    names = [row[0] for row in predictions]
    assert any(name.endswith("line\nend.png") for name in names)
    assert any(name.endswith('\\udcff, "quoted".png') for name in names)
    assert report["data"]["duplicate_count"] == 34  # both splits are the same folder
    check_page(tmp_path / "output" / "LeNet" / "report" / "report.html")


def test_the_current_folder_is_used_where_the_run_cannot_be_written(run, capsys):
    (run / "report").write_text("a file")
    assert main(["report", "output"]) == 0
    assert "report: report/report.html" in capsys.readouterr().out
    assert sorted(os.listdir("report")) == FILES
    assert main(["report", "output", "--output", "output/LeNet/report"]) == 2
    assert "--output: expected a folder, got the file output/LeNet/report" in capsys.readouterr().err


def test_mistakes_are_one_line(run, photos, capsys):
    assert main(["export", "output", "-o", "Global.save_inference_dir=exported"]) == 0
    (Path("other") / "purple").mkdir(parents=True)
    shutil.copy(photos / "red" / "1.png", "other/purple")
    Path("images.tar").write_bytes(b"")
    capsys.readouterr()
    for command, message in {
        (): "report: expected RUN_FOLDER, EXPORT_FOLDER or -c CONFIG, got nothing",
        ("missing",): "RUN_FOLDER or EXPORT_FOLDER: expected the folder of a run or of an export",
        ("exported",): "report: an export contains no evaluation data; add --data",
        ("exported", "--data", str(photos), "-o", "Global.seed=1"): "report: expected -o together with a run folder",
        ("exported", "--data", str(photos), "--device", "tpu"): "--device: expected 'cpu'",
        ("exported", "--data", "other"): "--data: unknown class 'purple'",
        ("exported", "--data", "nothing"): "--data: expected a folder",
        ("exported", "--data", "images.tar"): "--data: expected a folder or a list file, got 'images.tar'; use the fol",
        ("output", "--data", "other"): "--data: unknown class 'purple'",
        (
            "output",
            "--data",
            "nothing",
        ): "--data: expected a folder of images or a list file, got 'nothing', which does",
        (
            "output",
            "--data",
            str(photos / "red" / "1.png"),
        ): "--data: expected a folder of images or a list file, got t",
    }.items():
        assert main(["report", *command]) == 2, command
        error = capsys.readouterr().err
        assert f"error: {message}" in error, error
        assert "Traceback" not in error
    assert not (run / "report").exists()
