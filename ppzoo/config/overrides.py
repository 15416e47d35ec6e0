"""The command line's `-o a.b.0.c=value`: one value of a configuration, replaced."""

from __future__ import annotations

from typing import Any

from ppzoo.errors import ConfigError
from ppzoo.yaml_text import MAX_DEPTH, parse


def override(config: dict[str, Any], assignment: str) -> None:
    """Set one value of `config`, in place.

    Args:
        config: the configuration.
        assignment: `KEY.PATH=VALUE`. The path's parts are keys, or indices of list items counted from 0; mappings on
            the way that do not exist are made. The value is everything after the first `=`, read as YAML.

    Raises:
        ConfigError: no `=`, an empty part of the path or too many of them, a value that is not YAML, an index that is
            not in the list, or a path that leads into something that is neither a mapping nor a list.
    """
    path, equals, text = assignment.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"-o: expected KEY.PATH=VALUE, such as Global.epochs=10, received {assignment!r:.200}")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(
            f"-o {path.strip():.60}...: expected a path of at most {MAX_DEPTH} keys, received {len(parts)}"
        )
    value = _value(text, path.strip())
    place: Any = config
    for depth, part in enumerate(parts[:-1]):
        slot = _slot(place, part, ".".join(parts[:depth]))
        if (place.get(slot) if isinstance(place, dict) else place[slot]) is None:
            place[slot] = {}
        place = place[slot]
    place[_slot(place, parts[-1], ".".join(parts[:-1]))] = value


def _value(text: str, path: str) -> Any:
    try:
        return parse(text, f"-o {path}")
    except ConfigError as error:
        mend = "write text that is not YAML in quotes within quotes: -o '" + f'{path}="..."' + "'"
        raise ConfigError(f"{error}; {mend}") from None


def _slot(place: Any, part: str, path: str) -> int | str:
    """The index or key by which `place`, found at `path`, holds `part`."""
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise ConfigError(f"-o {path}.{part}: expected {path} to hold keys, received the value {place!r:.60}")
    indices = [str(index) for index in range(len(place))]
    if part not in indices:
        expected = f"an index from 0 to {indices[-1]}" if place else "no index, since it is empty"
        raise ConfigError(f"-o {path}.{part}: {path} is a list; expected {expected}, received {part!r}")
    return int(part)
