"""The type annotation that the schema has for the value at a path of keys."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from ppzoo.config.component_types import Components, Option
from ppzoo.config.schema import Sections
from ppzoo.config.section import Listed, Members, Named, find_mark, known_keys, nested_section
from ppzoo.config.type_checks import accepts, choice_of_switch
from ppzoo.config.validate import default_name


def hint_at(config: Any, path: Sequence[str], components: Components) -> Any:
    """Return the annotation of the value at `path`; Any if the schema has none.

    Args:
        config: the configuration, which names the components whose options are on the path.
        path: keys, and indices of list items.
        components: as for `validate.check`; without them the options of components have no annotation.
    """
    return _hint_in_keys(known_keys(Sections), config, list(path), components)


def restore_switches(config: dict[str, Any], components: Components) -> None:
    """Replace booleans that YAML read from texts such as `on` and `off` by these texts, where the key accepts them."""
    for path, holder, slot in list(_booleans(config, [])):
        hint = hint_at(config, path, components)
        if not accepts(holder[slot], hint):
            holder[slot] = choice_of_switch(holder[slot], hint) or holder[slot]


def _booleans(value: Any, path: list[str]) -> Iterator[tuple[list[str], Any, Any]]:
    """Yield the path of each boolean, the mapping or list that holds it, and its key or index there."""
    for slot, item in value.items() if isinstance(value, dict) else enumerate(value):
        inner = [*path, str(slot)]
        if isinstance(item, bool):
            yield inner, value, slot
        elif isinstance(item, dict | list):
            yield from _booleans(item, inner)


def _hint_in_keys(known: Mapping[str, Option], values: Any, path: list[str], components: Components) -> Any:
    """Return the annotation at a path that starts with one of the known keys."""
    option = known.get(path[0])
    if option is None:
        return Any
    if len(path) == 1:
        return option.hint
    value, rest = _item(values, path[0]), path[1:]
    mark, section = find_mark(option), nested_section(option.hint)
    if isinstance(mark, Named):
        return _hint_in_named(mark, value, rest, components)
    if mark is not None:
        return _hint_in_listed(mark, value, rest, components)
    if section is not None:
        return _hint_in_keys(known_keys(section), value, rest, components)
    return _hint_inside(option.hint, rest)


def _hint_in_named(mark: Named, value: Any, path: list[str], components: Components) -> Any:
    name = _item(value, "name") or default_name(mark.kind, components)
    return _hint_in_component(mark, name, value, path, components)


def _hint_in_listed(mark: Listed | Members, value: Any, path: list[str], components: Components) -> Any:
    """Return the annotation at a path into a list: index of an item, name of its component, and keys of the options."""
    item = _item(value, path[0])
    if len(path) < 3 or not isinstance(item, Mapping):
        return Any
    name, rest = path[1], path[2:]
    if isinstance(mark, Members):
        return _hint_in_named(Named(mark.kind, mark.section), _item(item, name), rest, components)
    return _hint_in_component(mark, name, _item(item, name), rest, components)


def _hint_in_component(mark: Named | Listed, name: Any, values: Any, path: list[str], components: Components) -> Any:
    """Return the annotation at a path that starts with an option of the component of that name."""
    component = components.get(mark.kind, {}).get(name) if isinstance(name, str) else None
    own = component.options if component else {}
    named = {"name": Option(str)} if isinstance(mark, Named) else {}
    return _hint_in_keys({**own, **known_keys(mark.section), **named}, values, path, components)


def _hint_inside(hint: Any, path: list[str]) -> Any:
    """Return the annotation of an element of a value with the annotation `hint`."""
    if not path:
        return hint
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _hint_inside(arguments[0], path)
    if origin in (Union, types.UnionType):
        arms = [arm for arm in arguments if get_origin(arm) in (list, tuple, dict)]
        return _hint_inside(arms[0], path) if len(arms) == 1 else Any
    if origin is dict:
        return _hint_inside(arguments[1], path[1:])
    if origin in (list, tuple) and (origin is list or arguments[-1] is Ellipsis or len(set(arguments)) == 1):
        return _hint_inside(arguments[0], path[1:])
    return Any


def _item(values: Any, key: str) -> Any:
    """Return the value of a key or index; None if there is none."""
    if isinstance(values, list):
        return values[int(key)] if key.isdecimal() and int(key) < len(values) else None
    return values.get(key) if isinstance(values, Mapping) else None
