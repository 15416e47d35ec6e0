"""`ppzoo lr-find`: its files, its suggestion, and its errors."""

import csv
import os
import shlex
import tempfile

import pytest
import yaml
from helpers.quick import QUICK
from helpers.small_runs import paint_class_folders, small_config

from ppzoo.builders.tuning import lr_overrides
from ppzoo.cli import main
from ppzoo.config import ComponentSpec, LrConfig, OptimizerConfig

STEPS = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lr find")
    paint_class_folders(folder / "images")
    settings = small_config(folder, "LeNet")
    settings["AMP"] = {"use_amp": True}
    settings["Global"]["update_freq"] = 2
    settings["DataLoader"]["Train"]["dataset"]["batch_transform_ops"] = [{"MixupOperator": {"alpha": 0.1}}]
    settings["Optimizer"]["lr"] = {"name": "Cosine", "learning_rate": 0.01, "warmup_epoch": 0}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_a_test_writes_its_files_and_prints_a_command_that_works(config, tmp_path, capsys):
    output = tmp_path / "new" / "<测试>"
    command = ["lr-find", "-c", str(config), "-o", "Global.seed=3", "--output", str(output)]
    assert main([*command, "--max", "100", "--steps", str(STEPS)]) == 0
    printed = capsys.readouterr().out
    assert {file.name for file in output.iterdir()} == {"lr_find.png", "lr_find.csv"}
    assert not os.path.exists(config.parent / "output")
    assert (output / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((output / "lr_find.csv").open(encoding="utf-8")))
    assert list(rows[0]) == ["step", "learning_rate", "loss", "smoothed_loss"]
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-6)
    assert f"trained {len(rows)} steps" in printed
    assert "suggested learning rate: " in printed

    words = shlex.split(printed.splitlines()[-1])
    assert words[:2] == ["ppzoo", "train"] and "Global.seed=3" in words
    assert words[-1].startswith("Optimizer.lr.learning_rate=")
    assert main(words[1:]) == 0
    resolved = yaml.safe_load((config.parent / "output" / "LeNet" / "config.yaml").read_text(encoding="utf-8"))
    rate = resolved["Optimizer"]["lr"]["learning_rate"]
    assert rate == pytest.approx(float(words[-1].partition("=")[2]))
    assert any(float(row["learning_rate"]) == pytest.approx(rate, rel=0.1) for row in rows)


def test_an_architecture_and_photos_replace_the_configuration(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    os.mkdir("temporary")
    command = ["lr-find", "--arch", "LeNet", "--data", str(photos), "--steps", str(STEPS), "--output", "new"]
    assert main([*command, "--device", "cpu", "-o", "Global.seed=1"]) == 0
    assert sorted(os.listdir()) == ["new", "temporary"] and not os.listdir("temporary")
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:6] == ["ppzoo", "train", "--arch", "LeNet", "--data", str(photos)]
    assert "Global.seed=1" in words and not [word for word in words if "output_dir" in word]
    assert main([*words[1:], *QUICK]) == 0


@pytest.mark.parametrize("command", ["lr-find", "profile"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected -c CONFIG, or --arch NAME with --data FOLDER, got nothing"),
        (["--arch", "LeNet"], "expected --data FOLDER together with --arch, got --arch alone"),
        (
            ["--arch", "LeNet", "-c", "lenet"],
            "expected either -c CONFIG, or --arch NAME with --data FOLDER, got -c and --arch",
        ),
    ],
)
def test_one_source_is_given(command, arguments, message, tmp_path, capsys):
    assert main([command, *arguments, "--output", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == f"error: {command}: {message}\n"
    assert not (tmp_path / "new").exists()


def test_a_flat_curve_suggests_nothing(config, tmp_path, capsys):
    command = ["lr-find", "-c", str(config), "--output", str(tmp_path), "--steps", "20"]
    assert main([*command, "--min", "1e-12", "--max", "1e-9"]) == 1
    printed = capsys.readouterr().out
    assert "no suggestion: the loss did not fall clearly between the learning rates 1e-12 and 1e-09" in printed
    assert (tmp_path / "lr_find.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "19"], "--steps: expected at least 20, got 19"),
        (["--min", "1", "--max", "0.1"], "--min, --max: expected 0 < min < max, got 1 and 0.1"),
        (["--min", "0"], "--min, --max: expected 0 < min < max, got 0 and 10"),
        (["--min", "1e-320"], "--min: expected a learning rate of at least 1.2e-38 (float32), got 9.99989e-321"),
        (["--max", "inf"], "--min, --max: expected 0 < min < max, got 1e-06 and inf"),
        (["--max", "nan"], "--min, --max: expected 0 < min < max, got 1e-06 and nan"),
        (["-o", "Optimizer=null"], "Optimizer"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(config, tmp_path, capsys, arguments, message):
    output = tmp_path / "output"
    assert main(["lr-find", "-c", str(config), "--output", str(output), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {message}")
    assert not output.exists()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_output_folder_that_is_a_file_is_a_mistake(config, tmp_path, capsys, name):
    (tmp_path / "file").touch()
    assert main(["lr-find", "-c", str(config), "--output", str(tmp_path / name)]) == 2
    assert "error: --output: expected a folder, got " in capsys.readouterr().err


def test_links_in_the_output_folder_are_not_followed(config, tmp_path):
    (tmp_path / "lr_find.csv").symlink_to(tmp_path / "target")
    main(["lr-find", "-c", str(config), "--output", str(tmp_path), "--steps", "20"])
    assert not (tmp_path / "target").exists() and not (tmp_path / "lr_find.csv").is_symlink()


@pytest.mark.parametrize(
    ("options", "reference_batch", "expected"),
    [
        ({"learning_rate": 0.5}, None, ["learning_rate=0.02"]),
        ({"learning_rate": 0.5}, 256, ["learning_rate=0.08"]),
        (
            {"max_learning_rate": 0.5, "base_learning_rate": 0.1},
            None,
            ["base_learning_rate=0.004", "max_learning_rate=0.02"],
        ),
        ({"values": [0.1, 0.01], "learning_rate": None}, None, ["values=[0.02, 0.002]"]),
        ({"learning_rate": 0.5, "warmup_start_lr": 0.1}, None, ["learning_rate=0.02", "warmup_start_lr=0.004"]),
        ({"learning_rate": 0.5, "warmup_start_lr": 0.001}, None, ["learning_rate=0.02"]),
    ],
)
def test_overrides_that_set_the_rate(options, reference_batch, expected):
    lr = LrConfig(spec=ComponentSpec("Schedule", options), reference_batch=reference_batch)
    section = OptimizerConfig(spec=ComponentSpec("SGD", {}), lr=lr)
    assert lr_overrides(section, 0.02, 64) == [f"Optimizer.lr.{text}" for text in expected]
