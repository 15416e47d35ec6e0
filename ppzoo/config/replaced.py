"""Options that belong to a component that a configuration replaces by another one.

A base with `Optimizer: {name: Momentum, momentum: 0.9}` can be used with `Optimizer: {name: AdamW}`: `momentum` is not
inherited, since AdamW does not have it. Options that both components have are inherited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppzoo.config.component_types import Component, Components, Option
from ppzoo.config.schema import Sections
from ppzoo.config.section import Named, find_mark, known_keys, nested_section
from ppzoo.config.validate import default_name

Path = tuple[str, ...]


def replaced_options(below: Mapping[str, Any], above: Mapping[str, Any], components: Components) -> list[Path]:
    """Return the paths of the options in `below` that only its components have, where `above` names other components.

    Unknown keys and the options of unknown components are not returned: the check reports them.
    """
    return list(_in_keys(known_keys(Sections), below, above, components))


def without(config: Mapping[str, Any], paths: list[Path]) -> dict[str, Any]:
    """Return a configuration without the keys at these paths."""
    kept = dict(config)
    for key, *inner in paths:
        if inner:
            kept[key] = without(kept[key], [tuple(inner)])
        else:
            del kept[key]
    return kept


def _in_keys(
    known: Mapping[str, Option], below: Mapping[str, Any], above: Mapping[str, Any], components: Components
) -> Iterator[Path]:
    for key, option in known.items():
        old, new = below.get(key), above.get(key)
        if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
            continue
        mark, section = find_mark(option), nested_section(option.hint)
        if isinstance(mark, Named):
            section = mark.section
            for name in _only_in_old(mark, old, new, components):
                yield key, name
        if section is not None:
            for path in _in_keys(known_keys(section), old, new, components):
                yield key, *path


def _only_in_old(mark: Named, old: Mapping[str, Any], new: Mapping[str, Any], components: Components) -> list[str]:
    before, after = component_of(mark, old, {}, components), component_of(mark, new, old, components)
    if before is None or after is None or before is after:
        return []
    kept = {*after.options, *known_keys(mark.section)}
    return [key for key in old if key in before.options and key not in kept]


def component_of(
    mark: Named, values: Mapping[str, Any], inherited: Mapping[str, Any], components: Components
) -> Component | None:
    """Return the component that a mapping names, or else `inherited`, or else the default; None if it is unknown."""
    name = values.get("name", inherited.get("name", default_name(mark.kind, components)))
    return components.get(mark.kind, {}).get(name) if isinstance(name, str) else None
