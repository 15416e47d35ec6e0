"""Read the configuration that PaddleClas prints at the beginning of a run from its `train.log`.

PaddleClas prints one line per key, indented by four spaces per level, with Python's notation for values. A list of
mappings is printed like a mapping, so that only the name of its key shows that it is a list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ppzoo.errors import ConfigFileError
from ppzoo.files import open_plain_file

MAX_LINE = 20_000  # bytes
MAX_LINES = 5_000  # of a configuration
LIST_KEYS = {"transform_ops", "batch_transform_ops", "transforms", "models"}
LIST_SECTIONS = {"Loss", "Metric"}  # their keys Train and Eval are lists
_PREFIX = re.compile(r"(?:\[[0-9/: ]+\] \S+|[0-9][0-9:, -]+) INFO: ?")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"( *)(\S+) : ?(.*)")
_RULE = re.compile(r"-{20,}")


class _Line(NamedTuple):
    depth: int
    key: str
    text: str


def read_logged_config(file: Path) -> dict[str, Any]:
    """Return the configuration of the last run that a log contains.

    Raises:
        ConfigFileError: the file cannot be read, contains no configuration, or its keys are nested too deeply.
    """
    try:
        with open_plain_file(file) as log:
            lines = _last_block(iter(lambda: log.readline(MAX_LINE), b""))
    except OSError as error:
        raise ConfigFileError(f"cannot read {file}: {error.strerror or error}") from None
    if not any(line.key == "Arch" and not line.depth for line in lines):
        raise ConfigFileError(f"{file}: expected the configuration that PaddleClas prints at the start, got none")
    try:
        return _parse(lines, 0, ())
    except RecursionError:
        raise ConfigFileError(f"{file}: expected a configuration of PaddleClas, got keys nested too deeply") from None


def _last_block(content: Iterator[bytes]) -> list[_Line]:
    """Return the lines of the last printed configuration: the last block of `key : value` lines with key `Arch`."""
    block: list[_Line] = []
    last: list[_Line] = []
    for raw in content:
        text = _COLOR.sub("", raw.decode(errors="replace").rstrip("\r\n"))
        prefix = _PREFIX.match(text)
        message = text[prefix.end() :] if prefix else ""
        found = _LINE.fullmatch(message)
        if found and len(block) < MAX_LINES:
            block.append(_Line(len(found[1]), found[2], found[3]))
        elif not (prefix and _RULE.fullmatch(message)):
            last = _keep(block, last)
            block = []
    return _keep(block, last)


def _keep(block: list[_Line], last: list[_Line]) -> list[_Line]:
    return block if any(line.key == "Arch" and not line.depth for line in block) else last


def _parse(lines: list[_Line], depth: int, path: tuple[str, ...]) -> dict[str, Any]:
    """Return the mapping of the lines at `depth`, each with the deeper lines that follow it.

    Args:
        path: the keys of the outer mappings.
    """
    values: dict[str, Any] = {}
    for line, inner in _groups(lines, depth):
        inner_path = (*path, line.key)
        if not inner:
            values[line.key] = _value(line.text)
        elif line.key in LIST_KEYS or (path and path[-1] in LIST_SECTIONS and len(path) == 1):
            values[line.key] = [_parse(item, inner[0].depth, inner_path) for item in _items(inner)]
        else:
            values[line.key] = _parse(inner, inner[0].depth, inner_path)
    return values


def _groups(lines: list[_Line], depth: int) -> Iterator[tuple[_Line, list[_Line]]]:
    """Yield each line at `depth` with the deeper lines that follow it."""
    starts = [index for index, line in enumerate(lines) if line.depth <= depth]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[start], lines[start + 1 : end]


def _items(lines: list[_Line]) -> list[list[_Line]]:
    return [[line, *inner] for line, inner in _groups(lines, lines[0].depth)]


def _value(text: str) -> Any:
    """Return the value of a literal in Python's notation; return other text, such as a path or `1/255`, unchanged."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    plain = (bool, int, float, str, list, type(None))
    return value if isinstance(value, plain) else list(value) if isinstance(value, tuple) else text
