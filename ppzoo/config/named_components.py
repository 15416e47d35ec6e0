"""The mappings of a configuration whose key `name` selects their component, such as `Optimizer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppzoo.config.component_types import Component, Components, Option
from ppzoo.config.component_uses import at
from ppzoo.config.schema import Sections
from ppzoo.config.section import Named, find_mark, known_keys, nested_section
from ppzoo.config.validate import default_name

Path = tuple[str, ...]


def named_mappings(config: Mapping[str, Any]) -> Iterator[tuple[Path, Named, Mapping[str, Any]]]:
    """Yield path, mark in the schema and values of each mapping with a component; outer mappings before inner ones."""
    yield from _in_section(known_keys(Sections), config)


def component_of(
    mark: Named, values: Mapping[str, Any], inherited: Mapping[str, Any], components: Components
) -> Component | None:
    """Return the component that `values` name, or else `inherited`, or else the default; None for an unknown name."""
    name = values.get("name", inherited.get("name", default_name(mark.kind, components)))
    return components.get(mark.kind, {}).get(name) if isinstance(name, str) else None


def mapping_at(config: Mapping[str, Any], path: Path) -> Any:
    """Return the mapping at a path; an empty one if there is none."""
    found = at(config, ".".join(path))
    return found if isinstance(found, Mapping) else {}


def _in_section(
    known: Mapping[str, Option], values: Mapping[str, Any]
) -> Iterator[tuple[Path, Named, Mapping[str, Any]]]:
    for key, option in known.items():
        inner = values.get(key)
        if not isinstance(inner, Mapping):
            continue
        mark, section = find_mark(option), nested_section(option.hint)
        if isinstance(mark, Named):
            section = mark.section
            yield (key,), mark, inner
        if section is not None:
            for path, inner_mark, found in _in_section(known_keys(section), inner):
                yield (key, *path), inner_mark, found
