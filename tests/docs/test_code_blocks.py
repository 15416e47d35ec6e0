"""The commands, configurations and Python blocks of the documents are valid.

Commands are parsed by the parser of ppzoo, configurations are validated against the schema, and in Python blocks the
syntax and the names from ppzoo are checked. `test_pages_run.py` runs the pages that are cheap enough.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from pathlib import Path

import pytest
from helpers.documents import DOCUMENTS, ROOT, read_blocks, read_commands, read_inline_commands

from ppzoo import builders, cli
from ppzoo.cli.arguments import Parser
from ppzoo.config import json_schema, load
from ppzoo.errors import ConfigError
from ppzoo.yaml_io import parse

jsonschema = pytest.importorskip("jsonschema")
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
TOOLS = {"train.py": "train", "eval.py": "eval", "infer.py": "infer", "export_model.py": "export"}


class Rejected(Exception):
    """The command line is wrong."""


@pytest.fixture
def parser(monkeypatch):
    def reject(self, message):
        raise Rejected(message)

    monkeypatch.setattr(Parser, "error", reject)
    return cli.build_parser()


@pytest.fixture(scope="module")
def components():
    return builders.components()


@pytest.fixture(scope="module")
def validator(components):
    return jsonschema.Draft202012Validator(json_schema(components))


def arguments_of(words: list[str]) -> list[str] | None:
    """Return the arguments of ppzoo in a command; None if the command starts another program."""
    if words[0] == "ppzoo":
        return words[1:]
    tool = next((index for index, word in enumerate(words) if word.startswith("tools/")), None)
    return None if tool is None else [TOOLS[Path(words[tool]).name], *words[tool + 1 :]]


def parse_command(parser, words: list[str]) -> argparse.Namespace | None:
    arguments = arguments_of(words)
    if arguments is None or "--help" in arguments:
        return None
    return parser.parse_args(arguments)


@documents
def test_commands_are_valid(document, parser):
    for words in read_commands(document):
        try:
            parse_command(parser, words)
        except Rejected as error:
            pytest.fail(f"{' '.join(words)}: {error}", pytrace=False)


@documents
def test_commands_in_sentences_are_valid(document, parser):
    """Arguments can be missing there; commands and options have to exist."""
    for words in read_inline_commands(document):
        if words[1].isupper():  # `ppzoo COMMAND`
            continue
        try:
            parse_command(parser, [word.strip("[]") for word in words])
        except Rejected as error:
            is_incomplete = re.search(
                r"are required|expected (one|at least one) argument|expected an integer, got '[A-Z]+'", str(error)
            )
            assert is_incomplete, f"{' '.join(words)}: {error}"


@documents
def test_overrides_and_included_configurations_exist(document, parser, components, validator):
    text = document.read_text(encoding="utf-8")
    for words in read_commands(document):
        options = parse_command(parser, words)
        name = getattr(options, "config", None)
        if name is not None and not name.endswith((".yaml", ".yml")) and not name.isupper():
            load(name, (), components)
        for override in getattr(options, "override", ()):
            is_intended = f"error: {override.partition('=')[0]}: " in text  # the page shows the error
            errors = [error.message for error in validator.iter_errors(nested(override))]
            assert bool(errors) == is_intended, f"{document.name}: {override}: {errors}"


def nested(override: str) -> dict:
    """Return `A.B=1` as the configuration {"A": {"B": 1}}."""
    keys, _, value = override.partition("=")
    *parents, last = keys.split(".")
    found = parse(f"{last}: {value}", override)
    for key in reversed(parents):
        found = {key: found}
    return found


@documents
def test_extras_in_install_commands_exist(document):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extras in re.findall(r"(?:ppzoo|'\.)\[([\w,]+)\]", document.read_text(encoding="utf-8")):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.M), f"{document.name}: no extra {extra}"


@documents
def test_configurations_are_valid(document, validator, components):
    for block in read_blocks(document):
        if block.language not in ("yaml", "yml"):
            continue
        place = f"{document.name}:{block.line}"
        content = without(parse(block.text, place), registered_names(document))
        errors = [error.message for error in validator.iter_errors(content)]
        assert not errors, f"{place}: {errors}"


def registered_names(document: Path) -> set[str]:
    """Return the components that the Python blocks of a document register."""
    text = "".join(block.text for block in read_blocks(document) if block.language == "python")
    return set(re.findall(r"(?<=\.register\nclass )\w+|(?<=register_variant\(\")\w+", text))


def without(value, names: set[str]):
    """Return a configuration without the components of these names, which the schema cannot know."""
    if isinstance(value, dict):
        return {key: without(item, names) for key, item in value.items() if str(item) not in names}
    if isinstance(value, list):
        return [without(item, names) for item in value if not (isinstance(item, dict) and names & set(item))]
    return value


@documents
def test_python_blocks_are_valid(document):
    for block in read_blocks(document):
        if block.language != "python":
            continue
        place = f"{document.name}:{block.line}"
        tree = ast.parse(block.text, place)
        for problem in find_unknown_names(tree):
            pytest.fail(f"{place}: {problem}", pytrace=False)


def find_unknown_names(tree: ast.Module):
    """Yield the imports from ppzoo, and the attributes of imported modules and names of ppzoo, that do not exist."""
    known = {"ppzoo": importlib.import_module("ppzoo")}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ppzoo":
            module = importlib.import_module(node.module)
            for alias in node.names:
                if hasattr(module, alias.name):
                    known[alias.asname or alias.name] = getattr(module, alias.name)
                else:
                    known[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        owner = resolve(node.value, known) if isinstance(node, ast.Attribute) else None
        if owner is not None and not hasattr(owner, node.attr):
            yield f"{ast.unparse(node)} does not exist"


def resolve(node: ast.expr, known: dict):
    """Return the module or class that an expression such as `ppzoo.builders` names; None for anything else."""
    if isinstance(node, ast.Name):
        found = known.get(node.id)
    elif isinstance(node, ast.Attribute):
        owner = resolve(node.value, known)
        found = getattr(owner, node.attr, None) if owner is not None else None
    else:
        found = None
    return found if isinstance(found, type(ast) | type) else None


def test_a_wrong_block_is_found(tmp_path, parser, components, validator):
    """The checks above can fail."""
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nppzoo train --foo  # no such option\n```\n\n```yaml\nGlobal: {epohcs: 3}\n```\n\n```python\n"
        "from ppzoo import builders\n\nbuilders.build_nothing()\n```\n\n    ppzoo check -c lenet -o Global.x=1\n"
    )
    blocks = {block.language: block.text for block in read_blocks(page)}
    commands = list(read_commands(page))
    with pytest.raises(Rejected, match="--foo"):
        parse_command(parser, commands[0])
    assert commands[1] == ["ppzoo", "check", "-c", "lenet", "-o", "Global.x=1"]
    assert not validator.is_valid(parse(blocks["yaml"], "page"))
    assert not validator.is_valid(nested("Global.x=1")) and validator.is_valid(nested("Global.epochs=1"))
    assert list(find_unknown_names(ast.parse(blocks["python"]))) == ["builders.build_nothing does not exist"]
    with pytest.raises(ConfigError):
        load("no_such_configuration", (), components)
