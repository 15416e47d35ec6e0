"""Options that belong to a component that a configuration replaces by another one.

A base with `Optimizer: {name: Momentum, momentum: 0.9}` can be used with `Optimizer: {name: AdamW}`: `momentum` is not
inherited, since AdamW does not have it. Options that both components have are inherited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppzoo.config.component_types import Components
from ppzoo.config.named_components import Path, component_of, mapping_at, named_mappings
from ppzoo.config.section import Named, known_keys


def replaced_options(below: Mapping[str, Any], above: Mapping[str, Any], components: Components) -> list[Path]:
    """Return the paths of the options in `below` that only its components have, where `above` names other components.

    Unknown keys and the options of unknown components are not returned: the check reports them.
    """
    return [
        (*path, option)
        for path, mark, new in named_mappings(above)
        for option in _only_in_old(mark, mapping_at(below, path), new, components)
    ]


def without(config: Mapping[str, Any], paths: list[Path]) -> dict[str, Any]:
    """Return a configuration without the keys at these paths."""
    kept = dict(config)
    for key, *inner in paths:
        if inner:
            kept[key] = without(kept[key], [tuple(inner)])
        else:
            del kept[key]
    return kept


def _only_in_old(mark: Named, old: Mapping[str, Any], new: Mapping[str, Any], components: Components) -> list[str]:
    before, after = component_of(mark, old, {}, components), component_of(mark, new, old, components)
    if before is None or after is None or before is after:
        return []
    kept = {*after.options, *known_keys(mark.section)}
    return [key for key in old if key in before.options and key not in kept]
