"""`dataset.cache` in a configuration: the same training, bit for bit, and mistakes in one line."""

import copy
import os
import time

import numpy as np
import pytest
import yaml
from helpers.small_runs import NORMALIZE, paint_class_folders, small_config

from ppzoo.cli import main
from ppzoo.data.cache.cached_images import CLOCK_TICK_NS
from ppzoo.weights import read_pdparams

RANDOM = [{"DecodeImage": {}}, {"RandCropImage": {"size": 32}}, {"RandFlipImage": {}}, NORMALIZE]


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    paint_class_folders(tmp_path / "images", count=4, file="{number}.jpg")
    time.sleep(2 * CLOCK_TICK_NS / 1e9)
    config = small_config(tmp_path, "LeNet", ops=RANDOM)
    config["Global"]["epochs"] = 2
    config["Optimizer"]["lr"]["learning_rate"] = 0.01
    return config


def write(tmp_path, config, **changes):
    config = copy.deepcopy(config)
    config["DataLoader"]["Train"]["dataset"] |= changes
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return str(file)


def train(tmp_path, config, name, *options, **changes):
    output = tmp_path / name
    file = write(tmp_path, config, **changes)
    assert main(["train", "-c", file, "-o", f"Global.output_dir={output}", *options]) == 0
    return read_pdparams(output / "LeNet" / "latest.pdparams")


def require_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_training_and_resuming_are_bit_identical_with_a_cache(tmp_path, config, capsys):
    expected = train(tmp_path, config, "plain")
    require_equal(train(tmp_path, config, "memory", cache="memory"), expected)
    assert "dataset.cache: memory: 12 of 12 images" in capsys.readouterr().err
    workers = ("-o", "DataLoader.Train.loader.num_workers=2")
    require_equal(train(tmp_path, config, "workers", *workers, cache="memory"), expected)
    train(tmp_path, config, "resumed", "-o", "Global.epochs=1", cache="disk")
    require_equal(train(tmp_path, config, "resumed", "--resume", "auto", cache="disk"), expected)
    train(tmp_path, config, "switched", "-o", "Global.epochs=1")
    require_equal(train(tmp_path, config, "switched", "--resume", "auto", cache="disk"), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache": "ram"}, "DataLoader.Train.dataset.cache: expected one of 'memory', 'disk' or null, got 'ram'"),
        ({"cach": "disk"}, "DataLoader.Train.dataset.cach: unknown key; did you mean DataLoader.Train.dataset.cache?"),
    ],
)
def test_check_reports_mistakes(tmp_path, config, capsys, changes, message):
    assert main(["check", "-c", write(tmp_path, config, **changes)]) == 2
    assert message in capsys.readouterr().err


def test_check_accepts_a_cache_and_writes_nothing(tmp_path, config):
    assert main(["check", "-c", write(tmp_path, config, cache="disk")]) == 0
    assert not (tmp_path / "home").exists()


def test_an_untrusted_folder_is_an_error_before_anything_is_written(tmp_path, config, capsys):
    folder = tmp_path / "home" / "images"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert main(["train", "-c", write(tmp_path, config, cache="disk")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert f"DataLoader.Train.dataset.cache: {folder}: expected a file or folder that only you can write" in errors[0]
    assert not (tmp_path / "output").exists()
    assert os.listdir(folder) == []
