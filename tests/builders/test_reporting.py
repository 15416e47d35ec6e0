"""Reports with few and many classes, several labels per image, several networks, and test-time augmentation."""

import csv
import json

import numpy as np
import paddle
import pytest
import yaml
from helpers.pictures import COLORS, paint
from helpers.small_runs import NORMALIZE, small_config
from PIL import Image
from sklearn import metrics as sklearn_metrics

from ppzoo import builders, data, explain
from ppzoo.builders import report_explain, report_facts, reporting
from ppzoo.builders.report_files import write_table
from ppzoo.builders.reporting import to_json_types
from ppzoo.cli import main

PAIR = [["Student", "Teacher"]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with an image of each color in `images`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPZOO_NATIVE", "off")
    monkeypatch.setattr(report_facts, "SPEED_SECONDS", 0.01)
    (tmp_path / "images").mkdir()
    for name, color in COLORS.items():
        paint(tmp_path / "images" / f"{name}.png", color, seed=0)
    return tmp_path


def listed_config(folder, labels, *, arch="LeNet", class_num=None):
    """Return a configuration whose data are the images, in turn, each with one of `labels` (as in a list file)."""
    files = [f"{list(COLORS)[index % len(COLORS)]}.png" for index in range(len(labels))]
    (folder / "list.txt").write_text("".join(f"{file} {label}\n" for file, label in zip(files, labels, strict=True)))
    config = small_config(folder, arch)
    config["Arch"]["class_num"] = class_num
    for split in config["DataLoader"].values():
        split["dataset"] |= {
            "name": "ImageNetDataset",
            "image_root": str(folder / "images"),
            "cls_label_path": str(folder / "list.txt"),
        }
    return config


def multi_label_config(folder, labels):
    """Return a configuration with several labels per image; `labels` has the three values of each image as text."""
    config = listed_config(folder, labels, class_num=3)
    for split in config["DataLoader"].values():
        split["dataset"]["name"] = "MultiLabelDataset"
    config["Global"]["use_multilabel"] = True
    config["Loss"] = {split: [{"MultiLabelLoss": {"weight": 1.0}}] for split in ("Train", "Eval")}
    config["Metric"] = {"Eval": [{"AccuracyScore": None}, {"HammingDistance": None}]}
    config["Infer"]["PostProcess"] = {"name": "MultiLabelThreshOutput", "label_list": list(COLORS)}
    return config


def report_of(config, folder, *options):
    """Save random weights for a configuration, and return its report and the arguments for other commands."""
    paddle.seed(1)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    network = builders.build_model(builders.read_config(str(folder / "config.yaml"), (), "eval").Arch, pretrained=False)
    paddle.save(network.state_dict(), str(folder / "weights.pdparams"))
    arguments = ["-c", "config.yaml", "-o", "Global.pretrained_model=weights", *options]
    assert main(["report", *arguments, "--output", "report"]) == 0
    return json.loads((folder / "report" / "report.json").read_text(encoding="utf-8")), arguments


def printed_by_eval(arguments, capsys):
    capsys.readouterr()
    assert main(["eval", *arguments]) == 0
    words = capsys.readouterr().out.split()
    return dict(zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize("class_num", [2, 10, 200, 1000])
def test_two_to_a_thousand_classes(folder, class_num, capsys, check_page):
    labels = np.random.default_rng(0).integers(0, class_num, 60).tolist()
    config = listed_config(folder, labels, class_num=class_num)
    config["Metric"] = {"Eval": [{"TopkAcc": {"topk": [1]}}, {"ExpectedCalibrationError": None}]}
    report, arguments = report_of(config, folder)
    expected = printed_by_eval(arguments, capsys)
    assert {name: f"{value:.4f}" for name, value in report["metrics"].items()} == expected
    assert report["calibration"]["ece"] == pytest.approx(report["metrics"]["ExpectedCalibrationError"], abs=1e-9)
    rows = (folder / "report" / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    predicted = [int(row.split(",")[3]) for row in rows]
    scores = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(class_num), zero_division=np.nan
    )
    for name, theirs in zip(("precision", "recall", "f1", "support"), scores, strict=True):
        ours = [np.nan if entry[name] is None else entry[name] for entry in report["per_class"]]
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert len(report["classes"]) == class_num
    assert len((folder / "report" / "confusion.csv").read_text(encoding="utf-8").splitlines()) == class_num + 1
    assert {"confusion", "gallery", "map", "data"} <= set(check_page(folder / "report" / "report.html"))


def test_several_labels_per_image(folder, capsys, check_page):
    labels = ["1,0,1", "0,1,0", "1,1,-1", "0,0,0", "0,1,1"]
    config = multi_label_config(folder, labels)
    report, arguments = report_of(config, folder)
    expected = printed_by_eval(arguments, capsys)
    assert {name: f"{value:.4f}" for name, value in report["metrics"].items()} == expected
    assert report["task"] == "multi_label" and report["main"] == "AccuracyScore"
    assert report["confusion"] is None and report["weakest"] is None and report["classes"] == list(COLORS)
    counts = np.array(report["label_confusion"])
    assert counts[:, 1:].sum(axis=1).tolist() == [5, 5, 4]  # one label is unknown
    assert (counts[:, 1] + counts[:, 4]).sum() / 14 == pytest.approx(report["metrics"]["AccuracyScore"])
    assert [entry["support"] for entry in report["per_class"]] == [2, 3, 2]
    assert sum(one["count"] for one in report["calibration"]["bins"]) == 14
    assert {tuple(image["label"]) for image in report["gallery"]["highest_loss"]} == {(0, 2), (1,), (0, 1), (), (1, 2)}
    rows = (folder / "report" / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1].split(",")[1:3] == ["0;2", "blue;red"]
    assert (folder / "report" / "confusion.csv").read_text(encoding="utf-8").startswith("class,true_positives,")
    assert main(["report", *arguments, "--data", "images"]) == 2
    assert "--data: expected a list file with lines such as 'image.jpg<tab>0,1,0'" in capsys.readouterr().err
    sections = check_page(folder / "report" / "report.html")
    assert {"labels", "gallery", "calibration"} <= set(sections) and "confusion" not in sections


def test_a_list_file_for_a_run_and_an_export_with_several_labels_per_image(folder, capsys, check_page):
    labels = ["1,0,1", "0,1,0", "1,1,-1", "0,0,0", "0,1,1"]
    config = multi_label_config(folder, labels)
    expected, arguments = report_of(config, folder)
    lines = (folder / "list.txt").read_text().replace(" ", "\t")
    (folder / "images" / "val.txt").write_text(lines)
    assert main(["report", *arguments, "--data", "images/val.txt", "--output", "of_run"]) == 0
    assert main(["export", *arguments]) == 0
    assert main(["report", "inference", "--data", "images/val.txt", "--output", "of_export"]) == 0
    of_run, of_export = (
        json.loads((folder / name / "report.json").read_text(encoding="utf-8")) for name in ("of_run", "of_export")
    )
    for report in (of_run, of_export):
        assert report["task"] == "multi_label" and report["classes"] == list(COLORS)
        assert report["label_confusion"] == expected["label_confusion"]
        for name, value in expected["metrics"].items():
            assert report["metrics"][name] == pytest.approx(value, abs=1e-5)
        assert report["calibration"]["ece"] == pytest.approx(expected["calibration"]["ece"], abs=1e-5)
    assert all(image["overlay"] for image in of_export["gallery"]["highest_loss"])
    assert "labels" in check_page(folder / "of_export" / "report.html")
    (folder / "images" / "val.txt").write_text("red.png\t1,0\n")
    capsys.readouterr()
    assert main(["report", "inference", "--data", "images/val.txt", "--output", "of_export"]) == 2
    assert (
        "error: --data: expected 3 values per line, one for each class of the export, got 2" in capsys.readouterr().err
    )


def test_a_distillation_reports_the_deployed_network(folder, capsys):
    config = listed_config(folder, [0, 1, 2, 0, 1, 2])
    config["Arch"] = {
        "name": "DistillationModel",
        "class_num": 3,
        "freeze_params_list": [True, False],
        "models": [{"Teacher": {"name": "LeNet"}}, {"Student": {"name": "LeNet"}}],
        "infer_model_name": "Student",
    }
    config["Loss"] = {
        "Train": [{"DistillationCELoss": {"weight": 1.0, "model_name_pairs": PAIR}}],
        "Eval": [{"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student"]}}],
    }
    config["Metric"] = {"Eval": [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1]}}]}
    report, arguments = report_of(config, folder)
    assert {name: f"{value:.4f}" for name, value in report["metrics"].items()} == printed_by_eval(arguments, capsys)
    assert report["title"] == "LeNet" and len(report["map"]["points"]) == 6
    rows = (folder / "report" / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert np.mean([int(row.split(",")[-1]) for row in rows]) == pytest.approx(report["metrics"]["top1"])
    both = [*arguments, "-o", "Metric.Eval=[{DistillationTopkAcc: {model_key: Teacher, topk: [1]}}]"]
    assert main(["report", *both, "--output", "report"]) == 0  # the metric is the teacher's, the rest the student's


def test_the_first_of_several_outputs(folder):
    ops = [{"DecodeImage": {}}, {"ResizeImage": {"size": 224}}, NORMALIZE]
    config = listed_config(folder, [0, 1, 2], arch="GoogLeNet", class_num=3)
    for split in config["DataLoader"].values():
        split["dataset"]["transform_ops"] = ops
    config["Loss"] = {split: [{"GoogLeNetLoss": None}] for split in ("Train", "Eval")}
    config["Metric"] = {"Eval": [{"GoogLeNetTopkAcc": {"topk": [1]}}]}
    report, _ = report_of(config, folder)
    assert sum(count for label, predicted, count in report["confusion"] if label == predicted) / 3 == pytest.approx(
        report["metrics"]["top1"]
    )


def test_with_test_time_augmentation(folder, capsys):
    config = listed_config(folder, [0, 1, 2, 1], class_num=3)
    report, arguments = report_of(config, folder, "-o", "TTA.flip=true")
    assert {name: f"{value:.4f}" for name, value in report["metrics"].items()} == printed_by_eval(arguments, capsys)
    assert "top1_tta" in report["metrics"]
    assert any("test-time augmentation" in note for note in report["notes"])


def test_images_that_cannot_be_read_are_skipped(folder):
    config = listed_config(folder, [0, 1, 2, 1], class_num=3)
    config["DataLoader"]["Eval"]["dataset"] |= {"on_error": "skip", "max_bad_fraction": 0.5}
    (folder / "images" / "green.png").write_text("no image")
    report, _ = report_of(config, folder)
    assert report["images"] == 3
    assert any(note.startswith("1 image of the evaluation data was skipped") for note in report["notes"])


@pytest.mark.parametrize(("lost", "shown"), [(["blue"], 4), (["blue", "green", "red"], 0)])
def test_images_that_vanish_after_the_evaluation(folder, monkeypatch, check_page, lost, shown):
    build_gallery = reporting.build_gallery

    def remove_and_build(evaluated):
        for name in lost:
            (folder / "images" / f"{name}.png").unlink()
        return build_gallery(evaluated)

    monkeypatch.setattr(reporting, "build_gallery", remove_and_build)
    report, _ = report_of(listed_config(folder, [0, 1, 2, 0, 1, 2], class_num=3), folder)
    assert report["images"] == 6 and report["speed"]["images_per_second"] > 0
    assert report["model"]["flops_input"] == [3, 32, 32]
    images = report["gallery"]["highest_loss"]
    for image in images:
        assert (image["overlay"] is None) == (image["thumbnail"] is None) == (image["label"] < len(lost))
    assert len(report["map"]["points"]) == 6  # the evaluation has computed the features
    assert any(note.startswith(f"{6 - shown} images were evaluated, but could not be read") for note in report["notes"])
    check_page(folder / "report" / "report.html")


@pytest.mark.parametrize("count", [6, 600])
def test_the_evaluation_computes_the_features_of_the_map(folder, monkeypatch, count):
    """Each image is read once and run once: few images by the network, many by its export."""
    report, _ = report_of(listed_config(folder, [0, 1, 2] * (count // 3), class_num=3), folder)
    overrides = ["Global.pretrained_model=weights"]
    evaluated = builders.evaluate_run(builders.read_report_config(str(folder / "config.yaml"), overrides))
    batch = np.stack([one.image for one in evaluated.read_inputs(range(len(evaluated.predictions)))])
    expected = explain.embed(evaluated.network, batch)
    for position, index in enumerate(evaluated.predictions.indices.tolist()):
        np.testing.assert_allclose(evaluated.features[index], expected[position], atol=1e-5)
    monkeypatch.setattr(data.Samples, "read", lambda *_: pytest.fail("an image was read again"))
    monkeypatch.setattr(type(evaluated.network), "forward_features", lambda *_: pytest.fail("the network ran again"))
    section = report_explain.build_map(evaluated, [])
    assert len(section["points"]) == len(report["map"]["points"]) == count
    vectors = np.stack(list(evaluated.features.values()))
    places = explain.project(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    np.testing.assert_allclose([point[:2] for point in section["points"]], places, atol=1e-4)


def test_images_of_several_sizes(folder):
    config = listed_config(folder, [0] * 6, arch="ResNet18", class_num=3)
    (folder / "list.txt").write_text("blue.png 0\n" * 9 + "red.png 2\n")
    with Image.open(folder / "images" / "red.png") as image:
        larger = image.resize((64, 64))
    larger.save(folder / "images" / "red.png")
    config["DataLoader"]["Eval"]["dataset"]["transform_ops"][1:2] = []  # no resizing
    config["DataLoader"]["Eval"]["sampler"]["batch_size"] = 1
    report, _ = report_of(config, folder)
    assert len(report["map"]["points"]) == 10
    assert all(image["overlay"] for image in report["gallery"]["highest_loss"])


def test_gray_images(folder):
    gray = [{"DecodeImage": {"channels": 1}}, {"ResizeImage": {"size": 32}}]
    gray.append({"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5], "std": [0.5], "order": ""}})
    config = listed_config(folder, [0, 1, 2], class_num=3)
    config["Arch"]["input_image_channel"] = 1
    config["Global"]["image_shape"] = [1, 32, 32]
    config["Infer"]["transforms"] = [*gray, {"ToCHWImage": None}]
    for split in config["DataLoader"].values():
        split["dataset"]["transform_ops"] = gray
    report, _ = report_of(config, folder)
    assert report["images"] == 3


def test_values_without_json_form():
    report = {
        "a": np.float32("nan"),
        1: [np.int64(3), float("inf")],
        "name": "\udcff\n",
        "array": np.ones((1, 2), bool),
    }
    assert to_json_types(report) == {"a": None, "1": [3, None], "name": "\\udcff\n", "array": [[True, True]]}
    json.dumps(to_json_types(report), allow_nan=False).encode()


def test_tables_are_quoted(tmp_path):
    rows = [["a,b", '"c"', "d\ne", "=f", "g\rh", "類"], [1, 0.5, "", "-x", "@", "+"]]
    write_table(tmp_path / "table.csv", rows)
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [[str(cell) for cell in row] for row in rows]
