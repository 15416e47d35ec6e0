"""Keys of components with other names in PaddleClas, such as `first_bs` for `batch_size` of `MultiScaleSampler`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppzoo.config.component_types import Components
from ppzoo.config.named_components import Path, component_of, mapping_at, named_mappings


def keys_to_rename(
    config: Mapping[str, Any], components: Components, before: Mapping[str, Any] | None = None
) -> list[tuple[Path, str, str]]:
    """Return the path of each component with keys of PaddleClas, PaddleClas's key, and its name here.

    If a component has both keys, PaddleClas's key replaces the other one if the other value comes from `before`.
    Otherwise PaddleClas's key is not returned, and the check reports it as unknown.

    Args:
        config: the configuration.
        components: as for `validate.check`.
        before: the configuration that a file or the command line changed to `config`.
    """
    found = []
    for path, mark, values in named_mappings(config):
        component, inherited = component_of(mark, values, {}, components), mapping_at(before or {}, path)
        for old, new in component.renamed.items() if component is not None else ():
            replaces = new in inherited and old not in inherited and inherited[new] == values.get(new)
            if old in values and (new not in values or replaces):
                found.append((path, old, new))
    return found


def rename_keys(
    config: Mapping[str, Any], components: Components, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a configuration in which `keys_to_rename` have their names here; it shares values with the given one."""
    renamed = dict(config)
    for path, old, new in keys_to_rename(config, components, before):
        renamed = _with_renamed(renamed, path, old, new)
    return renamed


def _with_renamed(config: Mapping[str, Any], path: Path, old: str, new: str) -> dict[str, Any]:
    """Return a configuration with another name for the key `old` of the mapping at a path."""
    if path:
        return {**config, path[0]: _with_renamed(config[path[0]], path[1:], old, new)}
    return {**{key: value for key, value in config.items() if key != old}, new: config[old]}
