"""`ppzoo migrate` writes files that `ppzoo check` accepts, never overwrites, and refuses in one line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from ppzoo.cli import main

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILE = FIXTURES / "paddleclas_mobilenet_v2_x0_5.yaml"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_is_written_into_the_current_folder(folder, capsys):
    assert main(["migrate", str(FILE)]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"wrote {FILE.name} (") and " lines instead of 129" in first
    assert main(["check", "-c", FILE.name]) == 0


def test_an_existing_file_stays(folder, capsys):
    (folder / FILE.name).write_text("mine")
    assert main(["migrate", str(FILE)]) == 2
    assert capsys.readouterr().err == f"error: migrate: {FILE.name} exists; give another path: -o OUT\n"
    assert (folder / FILE.name).read_text() == "mine"
    assert main(["migrate", str(FILE), "-o", "other/name.yaml"]) == 0
    assert names(folder) == ["other/name.yaml", FILE.name]


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_a_name_that_is_not_utf8_is_escaped_in_the_file(folder, capsys):
    name = "n\udcffme.yaml"
    sys.stdout.reconfigure(errors="backslashreplace")  # as `ppzoo` does
    assert main(["migrate", str(FILE), "-o", name]) == 0
    assert (folder / name).read_text(encoding="utf-8").startswith("# ppzoo train -c n\\udcffme.yaml\n")
    assert main(["check", "-c", name]) == 0


def test_a_folder_keeps_its_structure_and_lists_what_is_skipped(folder, capsys):
    source = folder / "ppcls"
    (source / "a").mkdir(parents=True)
    shutil.copy(FILE, source / "a" / "net.yaml")
    (source / "retrieval.yaml").write_text("Arch: {name: RecModel}\n")
    (source / "deploy.yaml").write_text("Global: {infer_imgs: a}\n")
    assert main(["migrate", "ppcls"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert names(folder / "migrated") == ["a/net.yaml"]
    assert "skipped ppcls/retrieval.yaml: Arch.name: retrieval and feature models" in "\n".join(out)
    assert "skipped ppcls/deploy.yaml: expected a training configuration of PaddleClas" in "\n".join(out)
    assert out[-1] == "migrated 1 of 3 files"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Arch: {name: RecModel}\n", "error: x.yaml: Arch.name: retrieval and feature models"),
        ("Arch: {name: LeNt}\n", "error: x.yaml: Arch.name: expected the name of an architecture, got 'LeNt'"),
        ("a: [\n", "error: x.yaml"),
        ("- 1\n", "error: x.yaml: expected a mapping of sections"),
        ("Arch: {name: 'a\\nb\\e[31m'}\n", "error: x.yaml"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(folder, capsys, content, message):
    (folder / "x.yaml").write_text(content)
    assert main(["migrate", "x.yaml", "-o", "out.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and len(error.splitlines()) == 1 and "\x1b" not in error
    assert names(folder) == ["x.yaml"]


def test_paths_that_are_no_source(folder, capsys):
    (folder / "empty").mkdir()
    for source in ("missing", "empty"):
        assert main(["migrate", source]) == 2
        assert capsys.readouterr().err.startswith("error: SOURCE: expected ")
