"""Apply the command line's `-o a.b.0.c=value` to a configuration.

A value is read as YAML. Where the schema accepts text, a value is kept exactly as it was typed in three cases: YAML
reads it as a string, YAML reads it as a type that the schema does not accept, or it ends in a YAML comment. So
`Global.output_dir=runs #2` is a folder of that name, and `Global.epochs=5` is a number. Quotes are removed; without
quotes, `null` is always null.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ppzoo.config.component_types import Components
from ppzoo.config.hints import hint_at
from ppzoo.config.type_checks import accepts
from ppzoo.errors import ConfigError
from ppzoo.yaml_io import MAX_DEPTH, ends_in_comment, is_quoted, parse, require_text

NULL = "null"  # read as null even where the schema accepts only text, so that no folder "null" is created by mistake
_BRACKETS = re.compile(r"(.+)\[([0-9]+)\]")  # `transform_ops[0]`, an index as in Python


class _Assignment(NamedTuple):
    """The text of a value, and the mapping or list that holds the value under the key or index `slot`."""

    holder: Any
    slot: int | str
    path: list[str]
    text: str


def override(config: dict[str, Any], *assignments: str, components: Components | None = None) -> None:
    """Set values of `config` in place, in order.

    Args:
        config: the configuration.
        assignments: `KEY.PATH=VALUE`. The path's parts are keys, or indices of list items counted from 0; mappings on
            the path that do not exist are created. The value is everything after the first `=`.
        components: as for `load`.

    Raises:
        ConfigError: no `=`, an empty part of the path or too many parts, a value that is too long, has characters that
            YAML does not allow, or is not YAML where text is not allowed, an index that is not in the list, or a path
            into a value that is neither a mapping nor a list.
    """
    # The type at a path can depend on a later override, such as Optimizer.name=..., so all values are set first.
    unread: dict[tuple[int, int | str], _Assignment] = {}
    for text in assignments:
        assignment = _assign(config, text, unread)
        unread[id(assignment.holder), assignment.slot] = assignment
    for assignment in sorted(unread.values(), key=lambda assignment: assignment.slot != "name"):
        assignment.holder[assignment.slot] = _value(assignment, hint_at(config, assignment.path, components or {}))


def _assign(config: dict[str, Any], assignment: str, unread: dict[tuple[int, int | str], _Assignment]) -> _Assignment:
    """Set the value at a path to the parsed text, or to the text if it is not YAML.

    Args:
        unread: the assignments so far, whose texts are read again when all of them are known. Those to a mapping or
            list on the path are removed, since reading them again would undo this assignment.
    """
    path, equals, text = assignment.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts) or ":" in parts[0]:
        raise ConfigError(f"-o: expected KEY.PATH=VALUE, such as Global.epochs=10, got {assignment!r:.200}")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"-o {path.strip():.60}...: expected a path of at most {MAX_DEPTH} keys, got {len(parts)}")
    require_text(text, f"-o {path.strip()}")
    holder: Any = config
    for depth, part in enumerate(parts[:-1]):
        slot = _slot(holder, part, ".".join(parts[:depth]))
        unread.pop((id(holder), slot), None)
        if (holder.get(slot) if isinstance(holder, dict) else holder[slot]) is None:
            holder[slot] = {}
        holder = holder[slot]
    slot = _slot(holder, parts[-1], ".".join(parts[:-1]))
    text = text.lstrip() if path != path.rstrip() else text  # KEY = VALUE
    try:
        holder[slot] = parse(text, "")
    except ConfigError:
        holder[slot] = text
    return _Assignment(holder, slot, parts, text)


def _value(assignment: _Assignment, hint: Any) -> Any:
    """Return the text of an assignment, or the parsed text, whichever fits the annotation `hint`.

    Raises:
        ConfigError: the text is not YAML, and `hint` does not accept it as text.
    """
    text, allows_text = assignment.text, hint is not Any and accepts(assignment.text, hint)
    source = f"-o {'.'.join(assignment.path)}"
    try:
        value = parse(text, source)
    except ConfigError as error:
        if allows_text:
            return text
        fix = f"""write text that is not YAML in quotes within quotes: -o '{source[3:]}="..."'"""
        raise ConfigError(f"{error}; {fix}") from None
    if is_quoted(text) or (value is None and text.strip().lower() == NULL):
        return value
    if not allows_text:
        # The parsed value lacks the comment of `gpu # 0`: it is used if the schema accepts it, as the choice `gpu`.
        # Else the text is kept as it was given, so that the error shows all of it.
        keeps_text = isinstance(value, str) and (hint is Any or not accepts(value, hint))
    else:
        # Where both text and numbers are accepted, `5` is a number, but `runs #2` and `5 #2` are texts.
        keeps_text = isinstance(value, str) or not accepts(value, hint) or ends_in_comment(text)
    return text if keeps_text and text else value


def _slot(holder: Any, part: str, path: str) -> int | str:
    """Return the index or key of `part` in `holder`, which is at `path`."""
    if isinstance(holder, dict):
        bracket = _BRACKETS.fullmatch(part)
        if bracket and part not in holder and isinstance(holder.get(bracket[1]), list):
            where = f"{path}.{bracket[1]}".lstrip(".")
            raise ConfigError(f"-o {where}[{bracket[2]}]: expected an index after a dot; write {where}.{bracket[2]}")
        if len(holder) == 1 and part not in holder and path.rpartition(".")[2].isdecimal():
            (name,) = holder  # an item of a list is one component
            raise ConfigError(f"-o {path}.{part}: {path} is {name}; write {path}.{name}.OPTION to set its options")
        return part
    if not isinstance(holder, list):
        raise ConfigError(f"-o {path}.{part}: expected {path} to be a mapping, got {holder!r:.60}")
    indices = [str(index) for index in range(len(holder))]
    if part not in indices:
        expected = (
            f"an index from 0 to {indices[-1]}"
            if len(holder) > 1
            else "index 0"
            if holder
            else "no index, since it is empty"
        )
        raise ConfigError(f"-o {path}.{part}: {path} is a list; expected {expected}, got {part!r}")
    return int(part)
