"""Keys of components that PaddleClas calls otherwise, such as `first_bs` for `batch_size` of `MultiScaleSampler`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppzoo.config.component_types import Component, Components, Option
from ppzoo.config.replaced import component_of
from ppzoo.config.schema import Sections
from ppzoo.config.section import Named, find_mark, known_keys, nested_section


def rename_keys(config: Mapping[str, Any], components: Components) -> dict[str, Any]:
    """Return a plain configuration in which the keys of its components have ppzoo's names.

    Where a component has both keys, neither is changed: the check then reports PaddleClas's as unknown.
    """
    return _rename_in(known_keys(Sections), config, components)


def _rename_in(known: Mapping[str, Option], values: Mapping[str, Any], components: Components) -> dict[str, Any]:
    renamed = dict(values)
    for key, option in known.items():
        inner = renamed.get(key)
        if not isinstance(inner, Mapping):
            continue
        mark, section = find_mark(option), nested_section(option.hint)
        if isinstance(mark, Named):
            section = mark.section
            inner = _rename(component_of(mark, inner, {}, components), inner)
        renamed[key] = inner if section is None else _rename_in(known_keys(section), inner, components)
    return renamed


def _rename(component: Component | None, values: Mapping[str, Any]) -> Mapping[str, Any]:
    names = {} if component is None else {old: new for old, new in component.renamed.items() if new not in values}
    return {names.get(key, key): value for key, value in values.items()}
