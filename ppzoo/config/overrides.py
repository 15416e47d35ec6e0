"""The command line's `-o a.b.0.c=value`: one value of a configuration, replaced.

A value is what was typed, unless it is YAML for what the schema wants at its place: `Global.output_dir=runs #2` is a
folder of that name, `Global.epochs=5` a number. Text in quotes is what they hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ppzoo.config.places import Components, hint_at
from ppzoo.config.type_checks import accepts
from ppzoo.errors import ConfigError
from ppzoo.yaml_io import MAX_DEPTH, ends_in_comment, is_quoted, parse, require_text


class _Typed(NamedTuple):
    """A value as it was typed, and the mapping or list that holds it by the key or index `slot`."""

    place: Any
    slot: int | str
    path: list[str]
    text: str


def override(config: dict[str, Any], *assignments: str, components: Components | None = None) -> None:
    """Set values of `config`, in place and one after the other.

    Args:
        config: the configuration.
        assignments: `KEY.PATH=VALUE`. The path's parts are keys, or indices of list items counted from 0; mappings on
            the way that do not exist are made. The value is everything after the first `=`.
        components: as for `load`.

    Raises:
        ConfigError: no `=`, an empty part of the path or too many of them, a value that is not YAML where text is not
            wanted, an index that is not in the list, or a path that leads into something that is neither a mapping
            nor a list.
    """
    # What is wanted at a place depends on later overrides, such as Optimizer.name=..., so that all are set first.
    unread: dict[tuple[int, int | str], _Typed] = {}
    for assignment in assignments:
        typed = _set_typed(config, assignment, unread)
        unread[id(typed.place), typed.slot] = typed
    for typed in sorted(unread.values(), key=lambda typed: typed.slot != "name"):
        typed.place[typed.slot] = _value(typed, hint_at(config, typed.path, components or {}))


def _set_typed(config: dict[str, Any], assignment: str, unread: dict[tuple[int, int | str], _Typed]) -> _Typed:
    """Set a value to its YAML, or to its text where it is none; what it reaches into is removed from `unread`."""
    path, equals, text = assignment.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"-o: expected KEY.PATH=VALUE, such as Global.epochs=10, got {assignment!r:.200}")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"-o {path.strip():.60}...: expected a path of at most {MAX_DEPTH} keys, got {len(parts)}")
    require_text(text, f"-o {path.strip()}")
    place: Any = config
    for depth, part in enumerate(parts[:-1]):
        slot = _slot(place, part, ".".join(parts[:depth]))
        unread.pop((id(place), slot), None)
        if (place.get(slot) if isinstance(place, dict) else place[slot]) is None:
            place[slot] = {}
        place = place[slot]
    slot = _slot(place, parts[-1], ".".join(parts[:-1]))
    text = text.lstrip() if path != path.rstrip() else text  # KEY = VALUE
    try:
        place[slot] = parse(text, "")
    except ConfigError:
        place[slot] = text
    return _Typed(place, slot, parts, text)


def _value(typed: _Typed, hint: Any) -> Any:
    """The value that was meant where `hint` is wanted."""
    wants_text = hint is not Any and accepts(typed.text, hint)
    source = f"-o {'.'.join(typed.path)}"
    try:
        value = parse(typed.text, source)
    except ConfigError as error:
        if wants_text:
            return typed.text
        mend = f"""write text that is not YAML in quotes within quotes: -o '{source[3:]}="..."'"""
        raise ConfigError(f"{error}; {mend}") from None
    if is_quoted(typed.text):
        return value
    if isinstance(value, str):
        return value if accepts(value, hint) and hint is not Any and not wants_text else typed.text
    is_yaml = accepts(value, hint) and not ends_in_comment(typed.text)
    return typed.text if wants_text and typed.text and not is_yaml else value


def _slot(place: Any, part: str, path: str) -> int | str:
    """The index or key by which `place`, found at `path`, holds `part`."""
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise ConfigError(f"-o {path}.{part}: expected {path} to hold keys, got the value {place!r:.60}")
    indices = [str(index) for index in range(len(place))]
    if part not in indices:
        expected = f"an index from 0 to {indices[-1]}" if place else "no index, since it is empty"
        raise ConfigError(f"-o {path}.{part}: {path} is a list; expected {expected}, got {part!r}")
    return int(part)
