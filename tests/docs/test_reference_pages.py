"""The reference pages are what their script writes, in both languages, and name every flag, key and component."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import reference as script
from helpers import reference as paddleclas

from ppzoo import builders, cli
from ppzoo.config import json_schema
from ppzoo.models import list_models

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def components():
    return builders.components()


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chinese():
    return script.Chinese()


@pytest.fixture(scope="module")
def pages(chinese):
    return script.pages(chinese)


def test_pages_are_up_to_date(pages):
    stale = [name for name, page in pages.items() if read(name) != page]
    assert not stale, f"run `python docs/hooks/reference.py`: {', '.join(stale)} differ from the code"


SPEED = """{
    "machine": {"processor": "A Processor", "cores": 2, "python": "3.11.8", "paddlepaddle": "3.3.1", "numpy": "2.0.0"},
    "date": "2026-12-01",
    "batch": 8,
    "architectures": {"LeNet": {"inference": 0.42, "training": 0.25}}
}"""


@pytest.fixture
def speed(monkeypatch, tmp_path):
    """A record of benchmarks/architectures.py with one architecture."""
    file = tmp_path / "speed.json"
    file.write_text(SPEED)
    monkeypatch.setattr(script, "SPEED_FILE", file)


def test_recorded_speeds_are_columns(chinese, speed):
    lines = "\n".join(script.write_architectures(str)).splitlines()
    assert "batch size, 8. Measured on 2026-12-01: A Processor, 2 cores, Python 3.11.8, PaddlePaddle 3.3.1, by" in lines
    rows = [line for line in lines if line.startswith("| `")]
    assert sum(line.endswith(" | 0.4 | 0.2 |") for line in rows) == 1
    assert sum(line.endswith(" | - | - |") for line in rows) == len(rows) - 1
    in_chinese = "\n".join(script.write_architectures(chinese))
    assert "测量日期 2026-12-01" in in_chinese and in_chinese.count("ms/张") > 10


def test_every_sentence_has_a_chinese_one(pages, chinese, speed):
    list(script.write_architectures(chinese))
    assert pages and not chinese.missing(), "add these sentences to docs/hooks/reference_zh.yaml"
    unused = set(chinese.sentences) - set(chinese.used)
    assert not unused, "remove these sentences from docs/hooks/reference_zh.yaml"


def test_the_script_writes_nothing_without_a_chinese_sentence(monkeypatch, tmp_path):
    class Incomplete(script.Chinese):
        def __init__(self):
            super().__init__()
            del self.sentences["The network."]

    monkeypatch.setattr(script, "Chinese", Incomplete)
    monkeypatch.setattr(script, "DOCS", tmp_path)
    (tmp_path / "hooks").symlink_to(DOCS / "hooks")
    with pytest.raises(SystemExit, match=r"reference_zh\.yaml:\nThe network\.$"):
        script.main()
    assert [path.name for path in tmp_path.iterdir()] == ["hooks"]


def parsers(parser: argparse.ArgumentParser):
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


def test_every_command_and_flag_is_named():
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", read("reference_commands.md"), re.M | re.S))
    known = {prog: parser for prog, parser in parsers(cli.build_parser()) if prog != "ppzoo"}
    assert set(sections) == set(known) and len(known) > 20
    for prog, parser in known.items():
        flags = {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"}
        assert not {flag for flag in flags if f"`{flag}" not in sections[prog]}, prog


def property_names(schema):
    """Yield the names of all properties in a JSON Schema."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from property_names(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from property_names(value)


def test_every_key_component_and_option_is_named(components):
    text = read("reference_configuration.md") + read("reference_components.md") + read("reference_architectures.md")
    named = set(re.findall(r"`(\w+)`", text)) | set(re.findall(r"^#+ (\w+)", text, re.M))
    schema = json_schema({**components, "arch": {}})
    assert not set(property_names(schema)) - named - {"name"}


def test_every_option_has_a_meaning():
    names = [f"reference_{page}{suffix}" for page in ("configuration", "components") for suffix in (".md", ".zh.md")]
    for name in names:
        assert not re.findall(r"^\| .*\| *\|$", read(name), re.M)


def test_every_architecture_is_named():
    named = re.findall(r"^\| `(\w+)` \|", read("reference_architectures.md"), re.M)
    assert sorted(named) == list_models()


def test_keys_marked_as_ppzoos_are_known_and_not_paddleclass():
    known = {path for _, _, keys in script.key_tables() for path, _, _ in keys} | {"TTA"}
    assert not script.NOT_IN_PADDLECLAS - known
    of_paddleclas = {path.replace("[]", "") for path in paddleclas.read_json("config_schema.json")}
    assert not script.NOT_IN_PADDLECLAS & of_paddleclas
