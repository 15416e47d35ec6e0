"""Options and commands that messages mention exist: options are in the schema, and commands can be parsed."""

import ast
import re
from pathlib import Path

import pytest

from ppzoo.builders.component_factory import components
from ppzoo.cli import build_parser
from ppzoo.config import Option
from ppzoo.config.schema import Sections
from ppzoo.config.section import Named, find_mark, known_keys, nested_section

PACKAGE = Path(__file__).parent.parent / "ppzoo"
SECTIONS = "|".join(known_keys(Sections))
OPTION = re.compile(rf"(?<![\w.])(?:{SECTIONS})(?:\.[A-Za-z_]\w*)+")
COMMAND = re.compile(r"`ppzoo ([a-z]+)(?: (--[a-z-]+|[a-z]+\b))?")


def texts():
    """Yield (file, text) of every string in the package but docstrings; parts of an f-string are joined by '{}'."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "unsupported.py" or path.parent.name == "migration":  # mention keys of PaddleClas
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docs = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and is_doc(node.body)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                docs |= {id(part) for part in node.values}
                yield path, "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                yield path, node.value


def is_doc(body):
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


def inside(option):
    """Return the keys that can follow an option."""
    found = find_mark(option)
    if isinstance(found, Named):
        own = {key: value for entry in components()[found.kind].values() for key, value in entry.options.items()}
        return {"name": Option(str), **own, **known_keys(found.section)}
    section = nested_section(option.hint)
    return known_keys(section) if section else {}


@pytest.mark.parametrize("path", sorted({match for _, text in texts() for match in OPTION.findall(text)}))
def test_options_in_messages_exist(path):
    known = known_keys(Sections)
    for key in path.split("."):
        assert key in known, f"{path}: {key} is none of {sorted(known)}"
        known = inside(known[key])


def test_commands_in_messages_exist():
    commands = {match for _, text in texts() for match in COMMAND.findall(text)}
    assert ("data", "check") in commands
    known = next(action.choices for action in build_parser()._actions if action.choices)
    for name, rest in commands:
        inner = known[name]
        words = {word for action in inner._actions for word in (*action.option_strings, *(action.choices or ()))}
        assert not rest or rest in words, f"ppzoo {name} {rest}"
