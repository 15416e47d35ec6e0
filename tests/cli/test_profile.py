"""`ppzoo profile`: its tables, its trace, and its errors."""

import json
import os
import time
from pathlib import Path

import pytest
import yaml
from helpers.small_runs import NORMALIZE, paint_class_folders, small_config

from ppzoo.cli import main
from ppzoo.data.cache.cached_images import CLOCK_TICK_NS
from ppzoo.data.compiled import partial_jpeg

OPS = [{"DecodeImage": {}}, {"ResizeImage": {"size": 32}}, {"RandFlipImage": {"flip_code": 1}}, NORMALIZE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    paint_class_folders(folder / "images")
    return folder


def write_config(folder, **changes):
    settings = small_config(folder, "LeNet", ops=OPS)
    settings["EMA"] = {"decay": 0.9}
    settings["DataLoader"]["Train"].update(changes.pop("train", {}))
    settings["DataLoader"]["Train"]["dataset"].update(changes.pop("dataset", {}))
    settings["Global"].update(changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return str(path)


def rows(printed, title):
    """Return the rows of a table, by their first column, as lists of words."""
    lines = printed.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(title)) + 1
    end = next((number for number in range(start, len(lines)) if not lines[number]), len(lines))
    return {line.split("  ")[0]: line.split() for line in lines[start:end]}


@pytest.mark.parametrize("workers", [0, 1])
def test_tables_and_trace(folder, tmp_path, capsys, workers):
    output = tmp_path / "new"
    config = write_config(folder, train={"loader": {"num_workers": workers}})
    assert main(["profile", "-c", config, "--steps", "3", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert [file.name for file in output.iterdir()] == ["trace.json"]
    assert not os.path.exists(folder / "output")
    assert printed.startswith("LeNet on cpu: 3 steps, 4 images per step\nwithout profiling ")
    parts = rows(printed, "part of a step")
    expected = ["forward", "backward", "optimizer", "loss", "metrics", "total"]
    expected += ["moving average of the weights", "normalize and copy to tensors", "waiting for data", "not attributed"]
    assert parts.keys() >= set(expected)
    values = [float(words[-2]) for name, words in parts.items() if name != "total"]
    assert sum(values) == pytest.approx(float(parts["total"][-2]), abs=0.01 * len(values))
    shares = [float(words[-1].rstrip("%")) for name, words in parts.items() if name not in ("total", "not attributed")]
    assert shares == sorted(shares, reverse=True)
    layers = rows(printed, "layer ")
    assert "Conv2D" in {words[1] for words in layers.values()}
    reading = rows(printed, "reading an image")
    assert reading.keys() >= {"read the file", "DecodeImage", "ResizeImage", "RandFlipImage", "NormalizeImage"}
    assert f"training reads images in {'1 worker' if workers else 'the training process'})" in printed
    events = json.loads((output / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert sum(event.get("cat") == "step" for event in events) == 3


def test_batch_transforms_and_unreadable_images(folder, tmp_path, capsys):
    images = tmp_path / "images"
    paint_class_folders(images)
    (next(images.iterdir()) / "broken.png").write_bytes(b"no image")
    dataset = {"image_root": str(images), "max_bad_fraction": 0.5, "batch_transform_ops": [{"MixupOperator": {}}]}
    config = write_config(folder, dataset=dataset)
    assert main(["profile", "-c", config, "--steps", "1", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "MixupOperator" in rows(printed, "reading an image")
    assert "(the mean of 24 images, in one process;" in printed


def profile_reading(folder, tmp_path, capsys, ops, images=None, **train):
    """Return the names of what is measured about reading, and the line below them."""
    settings = yaml.safe_load(Path(write_config(folder)).read_text(encoding="utf-8"))
    section = settings["DataLoader"]["Train"]
    section["dataset"] |= {
        "transform_ops": ops,
        "image_root": str(images or folder / "images"),
        **train.pop("dataset", {}),
    }
    section["sampler"] |= train.pop("sampler", {})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert main(["profile", "-c", str(path), "--steps", "1", "--output", str(tmp_path / "trace")]) == 0
    printed = capsys.readouterr().out
    note = printed.splitlines()[-3]
    return {name for name in rows(printed, "reading an image") if name not in ("total", note)}, note


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_reading_uses_the_cache_of_the_training(folder, tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setenv("PPZOO_HOME", str(tmp_path / "home"))
    paint_class_folders(tmp_path / "images", count=2)
    time.sleep(2 * CLOCK_TICK_NS / 1e9)  # younger files are not cached
    found, note = profile_reading(folder, tmp_path, capsys, OPS, tmp_path / "images", dataset={"cache": kind})
    assert found == {"read from the cache", "RandFlipImage", "NormalizeImage"}
    assert note.startswith("(the mean of 6 images after the first epoch, in one process;")


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ([{"DecodeImage": {}}, {"RandCropImage": {"size": 32}}], "DecodeImage + RandCropImage"),
        ([{"DecodeImage": {"reduced": 1.0}}, {"RandCropImage": {"size": 32}}], "DecodeImage + RandCropImage"),
        (
            [{"DecodeImage": {}}, {"ResizeImage": {"resize_short": 40}}, {"CropImage": {"size": 32}}],
            "DecodeImage + ResizeImage + CropImage",
        ),
    ],
)
def test_transforms_that_are_applied_together_are_one_row(folder, tmp_path, capsys, monkeypatch, first, name):
    monkeypatch.setattr(partial_jpeg, "is_available", lambda: True)
    found, _ = profile_reading(folder, tmp_path, capsys, [*first, NORMALIZE])
    assert found == {"read the file", name, "NormalizeImage"}


def test_reading_repeats_images_as_the_sampler_does(folder, tmp_path, capsys):
    sampler = {"name": "RepeatedAugSampler", "selected_round": 0}
    found, _ = profile_reading(folder, tmp_path, capsys, OPS, sampler=sampler)
    assert found == {"read the file", "DecodeImage", "ResizeImage", "RandFlipImage", "NormalizeImage"}


def test_a_static_program_is_one_layer(folder, tmp_path, capsys):
    config = write_config(folder, to_static=True)
    assert main(["profile", "-c", config, "--steps", "1", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert rows(printed, "layer ").keys() == {"(network)", "loss", "outside of layers", "total"}


@pytest.mark.parametrize("steps", ["0", "-1"])
def test_mistakes_are_one_line_and_nothing_is_written(folder, tmp_path, capsys, steps):
    config = write_config(folder)
    assert main(["profile", "-c", config, "--steps", steps, "--output", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: --steps: expected at least 1, got {steps}"
    assert not (tmp_path / "new").exists()


def test_an_architecture_and_photos_replace_the_configuration(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["profile", "--arch", "LeNet", "--data", str(photos), "--device", "cpu"]
    assert main([*command, "--steps", "1", "--output", "new"]) == 0
    assert capsys.readouterr().out.startswith("LeNet on cpu: 1 step, ")
    assert os.listdir() == ["new"]
