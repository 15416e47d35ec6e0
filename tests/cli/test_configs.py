"""Configurations of the package: found by name, listed, copied."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppzoo.cli import main
from ppzoo.config import load, packaged_configs

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder, in which there is no `configs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("lenet", "lenet.yaml"),
        ("lenet.yaml", "lenet.yaml"),
        ("configs/lenet.yaml", "lenet.yaml"),
        ("imagenet/ResNet/ResNet50", "imagenet/ResNet/ResNet50.yaml"),
        ("photos", "_base_/photos.yaml"),
        ("_base_/photos.yaml", "_base_/photos.yaml"),
    ],
)
def test_a_configuration_is_found_by_name(source, file):
    assert load(source) == load(packaged_configs.FOLDER / file)


def test_an_existing_file_takes_precedence_over_a_name(folder):
    (folder / "lenet").write_text("Arch: {name: VGG11}")
    assert load("lenet") == {"Arch": {"name": "VGG11"}}


@pytest.mark.parametrize("base", ["photos", "_base_/photos.yaml", "configs/_base_/photos.yaml"])
def test_a_base_is_found_by_name(folder, base):
    (folder / "photos").mkdir()  # a folder of that name does not hide it
    (folder / "my.yaml").write_text(f"_BASE_: {base}\nArch: {{name: LeNet}}")
    photos = load(packaged_configs.FOLDER / "_base_/photos.yaml")
    assert load("my.yaml") == {**photos, "Arch": {"name": "LeNet"}}


def test_a_file_next_to_the_configuration_takes_precedence_as_base(folder):
    (folder / "photos.yaml").write_text("A: 1")
    (folder / "my.yaml").write_text("_BASE_: photos.yaml")
    assert load("my.yaml") == {"A": 1}


@pytest.mark.parametrize(
    ("source", "name"),
    [("lenett", "lenet"), ("ResNet50", "imagenet/ResNet/ResNet50"), ("x/fotos.yaml", "_base_/photos")],
)
def test_an_unknown_name_is_reported_with_the_nearest(capsys, source, name):
    assert main(["train", "-c", source]) == 2
    assert capsys.readouterr().err == (
        f"error: -c: no configuration file {source}; did you mean {name!r}? (`ppzoo configs` lists all names)\n"
    )


@pytest.mark.parametrize("source", ["../configs/lenet", "/lenet", "imagenet", "", "http://host/lenet"])
def test_what_is_no_name_is_not_looked_up_in_the_package(source):
    assert packaged_configs.find_packaged(source) is None


def test_the_top_level_folder_shows_the_files_of_the_package():
    assert (ROOT / "configs" / "lenet.yaml").resolve() == packaged_configs.FOLDER.resolve() / "lenet.yaml"


def test_every_configuration_is_listed_with_its_description(capsys):
    assert main(["configs"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "architecture", "image", "description"]
    assert [line.split()[0] for line in lines] == packaged_configs.config_names()
    assert all(line[heading.index("description") :].strip() for line in lines)
    (lenet,) = [line for line in lines if line.startswith("lenet ")]
    assert lenet.split()[1:4] == ["LeNet", "32x32", "Fashion-MNIST,"]


def test_a_pattern_selects_configurations(capsys):
    assert main(["configs", "*resnet50*"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert "imagenet/ResNet/ResNet50" in names and "imagenet/SENet/SE_ResNet50_vd" in names
    assert all("resnet50" in name.lower() for name in names)
    assert main(["configs", "_base_/*"]) == 0
    assert "_base_/photos" in capsys.readouterr().out
    assert main(["configs", "mobilenet_v2"]) == 2
    assert capsys.readouterr().err == (
        "error: unknown configuration 'mobilenet_v2'; did you mean 'mobilenet_v2_x0_5'?\n"
    )


@pytest.mark.parametrize(
    "name", ["lenet", "distillation", "imagenet/ResNet/ResNet50", "photos", "imagenet/_base_/imagenet"]
)
def test_a_copy_describes_the_same_configuration(name, folder, capsys):
    (folder / "mine").mkdir()
    assert main(["configs", name, "--copy", "mine"]) == 0
    copy = folder / "mine" / f"{name.rpartition('/')[2]}.yaml"
    assert f"wrote mine/{copy.name}\n" in capsys.readouterr().out
    assert load(copy) == load(name)


def test_a_copy_does_not_overwrite(folder, capsys):
    assert main(["configs", "lenet", "--copy"]) == 0
    (folder / "lenet.yaml").write_text("edited")
    assert main(["configs", "lenet", "--copy"]) == 2
    assert capsys.readouterr().err == "error: configs: lenet.yaml exists; give another path: --copy PATH\n"
    assert (folder / "lenet.yaml").read_text() == "edited"
    assert main(["configs", "lenet", "--copy", "mine.yml"]) == 0
    assert (folder / "mine.yml").exists()


def test_a_copy_needs_the_name_of_a_configuration(folder, capsys):
    assert main(["configs", "lenett", "--copy"]) == 2
    assert "unknown configuration 'lenett'; did you mean 'lenet'?" in capsys.readouterr().err
    assert main(["configs", "--copy"]) == 2
    assert "expected NAME together with --copy" in capsys.readouterr().err
    assert main(["configs", "lenet", "--copy", "missing/lenet.yaml"]) == 2
    assert "missing" in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_the_schema_is_printed_as_json(capsys):
    assert main(["configs", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"Global", "Arch", "DataLoader"} <= schema["properties"].keys()
    assert main(["configs", "lenet", "--schema"]) == 2


def test_configurations_are_listed_without_paddlepaddle(folder):
    (folder / "paddle.py").write_text("raise SystemExit('PaddlePaddle was imported')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    code = "from ppzoo.cli import console; console()"
    done = subprocess.run([sys.executable, "-c", code, "configs"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "lenet" in done.stdout


def test_a_clone_whose_link_is_a_text_file_finds_its_configurations(folder, capsys):
    (folder / "configs").write_text("ppzoo/configs")
    assert main(["check", "-c", "configs/lenet.yaml"]) == 0
    assert capsys.readouterr().out == "configs/lenet.yaml: no mistakes found\n"


def test_a_copied_tree_of_configurations_works(folder):
    shutil.copytree(packaged_configs.FOLDER, folder / "configs")
    assert load("configs/imagenet/ResNet/ResNet50.yaml") == load("imagenet/ResNet/ResNet50")
