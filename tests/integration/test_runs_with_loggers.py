"""Runs with loggers: all is logged, the weights are those of a run without loggers, and failing loggers end no run."""

import json
import logging

import numpy as np
import pytest
from helpers.small_runs import OPS, paint_class_folders, small_config
from visualdl import LogReader

from ppzoo import builders
from ppzoo.builders.loggers import build_to_pixels, hyperparameters
from ppzoo.cli import main
from ppzoo.errors import ConfigError
from ppzoo.report.loggers import LOGGERS, Logger
from ppzoo.weights import read_pdparams


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loggers")
    paint_class_folders(folder / "images")
    return folder


@pytest.fixture(autouse=True)
def _ppzoo_operators_off(monkeypatch):
    monkeypatch.setenv("PPZOO_NATIVE", "off")


@pytest.fixture
def warnings(caplog, monkeypatch):
    logger = logging.getLogger("ppzoo")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr("ppzoo.report.log_to_console", lambda: None)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def train(folder, output, *resume, **settings):
    config = small_config(folder, "LeNet")
    config["Global"] |= {"epochs": 2, "output_dir": str(output), **settings}
    path = folder / f"{output.name}.yaml"
    path.write_text(json.dumps(config))
    assert main(["train", "-c", str(path), *resume]) == 0
    return output / "LeNet"


def read(folder):
    (file,) = (folder / "vdl").iterdir()
    reader = LogReader(file_path=str(file))
    return {
        tag: [record.id for record in reader.get_data(kind, tag)]
        for kind, tags in reader.get_tags().items()
        for tag in tags
    }


def test_loggers_do_not_change_the_training_and_a_resumed_run_has_each_record_once(folder, tmp_path, warnings):
    names = ["visualdl", "tensorboard"]
    plain = train(folder, tmp_path / "plain")
    assert not (plain / "vdl").exists()
    train(folder, tmp_path / "logged", epochs=1, loggers=names, log_histograms=1)
    logged = train(folder, tmp_path / "logged", "--resume", "auto", loggers=names, log_histograms=1)
    first, second = (read_pdparams(run / "latest.pdparams") for run in (plain, logged))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert not [warning for warning in warnings() if "logger" in warning]
    records = read(logged)
    assert records["step/loss"] == list(range(12))
    assert records["run/config"] == records["run/network"] == [0]
    for tag in ("epoch/train/loss", "epoch/eval/top1", "epoch/best/top1", "epoch/eval/confusion_matrix"):
        assert records[tag] == [1, 2]
    assert records["epoch/train/first_batch"] == [1, 2]  # that of each start
    histograms = [tag for tag in records if tag.startswith(("weights/", "gradients/"))]
    assert len(histograms) >= 4 and all(records[tag] == [1, 2] for tag in histograms)
    assert (logged / "tensorboard").is_dir()


def test_a_missing_file_of_class_names_does_not_end_the_training(folder, tmp_path, warnings):
    config = small_config(folder, "LeNet")
    config["Global"] |= {"output_dir": str(tmp_path), "loggers": ["visualdl"]}
    config["Infer"]["PostProcess"]["class_id_map_file"] = str(tmp_path / "missing.txt")
    (folder / "names.yaml").write_text(json.dumps(config))
    assert main(["train", "-c", str(folder / "names.yaml")]) == 0
    assert "epoch/eval/pr_curve/0 blue" in read(tmp_path / "LeNet")


class Broken(Logger):
    def log_scalars(self, scalars, number):
        raise ValueError("broken")


def test_a_broken_logger_does_not_end_the_training(folder, tmp_path, warnings, monkeypatch):
    monkeypatch.setattr(LOGGERS, "_entries", {**LOGGERS._entries, "broken": Broken})
    run = train(folder, tmp_path / "broken", epochs=1, loggers=["broken", "visualdl"])
    (warning,) = [warning for warning in warnings() if "logger" in warning]
    assert "logger broken is switched off, the run continues without it: ValueError: broken (line " in warning
    assert read(run)["epoch/train/loss"] == [1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loggers": ["visualdl2"]}, "Global.loggers: unknown logger 'visualdl2'; did you mean 'visualdl'?"),
        (
            {"loggers": ["visualdl"], "use_visualdl": False},
            "Global.use_visualdl: expected true, since Global.loggers has visualdl, got false; remove one of the two",
        ),
    ],
)
def test_contradictions_are_reported_before_the_training(folder, settings, message):
    config = small_config(folder, "LeNet")
    config["Global"] |= settings
    with pytest.raises(ConfigError) as error:
        builders.read_config(config, [], "train")
    assert error.value.problems == (message,)


def test_images_of_the_network_are_shown_as_they_are_in_their_files(folder):
    config = builders.read_config(small_config(folder, "LeNet"), [], "train")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    transformed = builders.build_transforms([*OPS[1:], {"ToCHWImage": None}])(image)
    np.testing.assert_array_equal(build_to_pixels(config.DataLoader.Eval)(transformed), image)


def test_hyperparameters_are_the_values_by_which_runs_differ(folder):
    config = builders.read_config(small_config(folder, "LeNet"), [], "train")
    found = hyperparameters(config)
    assert found["Optimizer.lr.learning_rate"] == 0.0001
    assert (found["Arch.name"], found["sampler.batch_size"], found["Global.epochs"]) == ("LeNet", 4, 1)
    assert found["transform_ops"] == "DecodeImage, ResizeImage, NormalizeImage"
