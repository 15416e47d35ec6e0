"""What the schema wants at a place of a configuration: the type annotation of the value at a path of keys."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from ppzoo.config.component_types import Component, Option
from ppzoo.config.schema import Configuration, Listed, Members, Named, known_keys, mark_of, nested
from ppzoo.config.type_checks import accepts, switch

Components = Mapping[str, Mapping[str, Component]]


def hint_at(config: Any, path: Sequence[str], components: Components) -> Any:
    """The annotation of the value at `path`, keys and indices of list items; Any where the schema knows none.

    Args:
        config: the configuration, which names the components whose options are on the way.
        components: as for `check`; without them the options of components are unknown.
    """
    return _among(known_keys(Configuration), config, list(path), components)


def set_switches(config: dict[str, Any], components: Components) -> None:
    """Put the choice in the place of each boolean that YAML made of it, where `on`, `off`, `yes`, ... is a choice."""
    for path, holder, slot in list(_booleans(config, [])):
        hint = hint_at(config, path, components)
        if not accepts(holder[slot], hint):
            holder[slot] = switch(holder[slot], hint) or holder[slot]


def _booleans(value: Any, path: list[str]) -> Iterator[tuple[list[str], Any, Any]]:
    """Path of each boolean, the mapping or list that holds it, and by which key or index."""
    for slot, item in value.items() if isinstance(value, dict) else enumerate(value):
        inner = [*path, str(slot)]
        if isinstance(item, bool):
            yield inner, value, slot
        elif isinstance(item, dict | list):
            yield from _booleans(item, inner)


def _among(known: Mapping[str, Option], values: Any, path: list[str], components: Components) -> Any:
    """The annotation at a path that begins with one of the keys that are known."""
    option = known.get(path[0])
    if option is None:
        return Any
    if len(path) == 1:
        return option.hint
    value, rest = _item(values, path[0]), path[1:]
    mark, section = mark_of(option), nested(option.hint)
    if isinstance(mark, Named):
        return _named(mark, value, rest, components)
    if mark is not None:
        return _listed(mark, value, rest, components)
    if section is not None:
        return _among(known_keys(section), value, rest, components)
    return _inside(option.hint, rest)


def _named(mark: Named, value: Any, path: list[str], components: Components) -> Any:
    name = _item(value, "name") or getattr(mark.section, "name", None)
    return _component(mark, name, value, path, components)


def _listed(mark: Listed | Members, value: Any, path: list[str], components: Components) -> Any:
    """The annotation below the item of an index, a mapping of one key."""
    item = _item(value, path[0])
    if len(path) < 3 or not isinstance(item, Mapping):
        return Any
    name, rest = path[1], path[2:]
    if isinstance(mark, Members):
        return _named(Named(mark.slot, mark.section), _item(item, name), rest, components)
    return _component(mark, name, _item(item, name), rest, components)


def _component(mark: Named | Listed, name: Any, values: Any, path: list[str], components: Components) -> Any:
    """The annotation at a path that begins with an option of the component of that name."""
    component = components.get(mark.slot, {}).get(name) if isinstance(name, str) else None
    return _among({**(component.options if component else {}), **known_keys(mark.section)}, values, path, components)


def _inside(hint: Any, path: list[str]) -> Any:
    """The annotation of an element of what has the annotation `hint`."""
    if not path:
        return hint
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _inside(arguments[0], path)
    if origin in (Union, types.UnionType):
        arms = [arm for arm in arguments if get_origin(arm) in (list, tuple, dict)]
        return _inside(arms[0], path) if len(arms) == 1 else Any
    if origin is dict:
        return _inside(arguments[1], path[1:])
    if origin in (list, tuple) and (origin is list or arguments[-1] is Ellipsis or len(set(arguments)) == 1):
        return _inside(arguments[0], path[1:])
    return Any


def _item(values: Any, key: str) -> Any:
    """The value of a key, or of an index; None where there is none."""
    if isinstance(values, list):
        return values[int(key)] if key.isdecimal() and int(key) < len(values) else None
    return values.get(key) if isinstance(values, Mapping) else None
