"""No picture is older than the code that draws it: `docs/pictures.json` records both."""

from __future__ import annotations

import json
from pathlib import Path

import pictures as script

DOCS = Path(__file__).parents[2] / "docs"
SUFFIXES = {".png", ".jpg", ".gif", ".webp"}  # SVG files are written from text, and compared with it


def read_record() -> dict:
    return json.loads((DOCS / "pictures.json").read_text(encoding="utf-8"))


def test_every_picture_is_recorded():
    pictures = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*") if file.suffix in SUFFIXES}
    assert pictures == set(read_record()) == set(script.PICTURES)


def test_no_picture_is_older_than_its_code():
    record = read_record()
    stale = [name for name in record if script.describe(name) != record[name]]
    assert not stale, f"run `python docs/hooks/pictures.py {' '.join(stale)}`: the code that draws them has changed"


def test_only_drawing_code_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    source = tmp_path / "plot.py"
    source.write_text("def draw():\n    return 1\n\n\ndef other():\n    return 2\n")
    before = script.hash_source("plot.py::draw")
    source.write_text("def draw():\n    return 1\n\n\ndef other():\n    return 3\n")
    assert script.hash_source("plot.py::draw") == before
    source.write_text("def draw():\n    return 4\n")
    assert script.hash_source("plot.py::draw") != before
