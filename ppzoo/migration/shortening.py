"""Find the included configuration that is nearest to a configuration, and the keys that differ from it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ppzoo.builders import components
from ppzoo.config import Components, Config, dump, load, merge, parse_section
from ppzoo.config.packaged_configs import FOLDER, SUFFIX, config_names, find_base
from ppzoo.errors import ConfigError
from ppzoo.migration.canonical import canonical

Values = dict[str, Any]
NAME = "name"  # the key with the name of a component, which decides what its other keys mean


class Shortened(NamedTuple):
    """A configuration as the keys that differ from the included configuration `base`; if None, from the defaults."""

    base: str | None
    keys: Values


def shorten(config: Mapping[str, Any], known: Components, folder: Path) -> Shortened:
    """Return the shortest form of a valid configuration.

    Args:
        folder: where the file will be; a file there that hides an included configuration excludes it as a base.
    """
    target = canonical_of(config, known)
    if target is None:
        raise ConfigError("expected a configuration without mistakes")
    defaults = set(_find_defaults(config, target, known))
    best = Shortened(None, _without_defaults(config, defaults))
    if canonical_of(best.keys, known) != target:  # a default can depend on another one
        best = Shortened(None, dict(config))
    for name, base in _candidates(config, folder):
        keys = _difference(base, config, target, defaults, known)
        if keys is not None and _length(keys) + 1 < _length(best.keys):
            best = Shortened(name, keys)
    return best


def canonical_of(config: Mapping[str, Any], known: Components) -> Values | None:
    """Return the canonical form of a plain configuration; None if it is not valid."""
    try:
        return canonical(Config.parse(config, known, task=None))
    except ConfigError:
        return None


def _find_defaults(config: Mapping[str, Any], target: Values, known: Components) -> Iterator[str]:
    """Yield the path of each value whose removal does not change the canonical form of the configuration."""
    whole = copy.deepcopy(dict(config))
    for path, holder, key in list(_values(whole)):
        before = dict(holder)
        del holder[key]
        if canonical_of(whole, known) == target:
            yield path
        holder.clear()
        holder.update(before)  # keeps the order of the keys


def _values(config: Values, path: str = "") -> Iterator[tuple[str, Values, str]]:
    """Yield the path of each value that is no mapping, the mapping that holds it, and its key there."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _values(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", config, key


def _without_defaults(config: Mapping[str, Any], defaults: set[str], path: str = "") -> Values:
    """Return the configuration without the values at `defaults`, and without mappings that this leaves empty."""
    kept: Values = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            inner = _without_defaults(value, defaults, f"{path}.{key}")
            if inner or not value:
                kept[key] = inner
        elif f"{path}.{key}" not in defaults:
            kept[key] = copy.deepcopy(value)
    return kept


def _candidates(config: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Values]]:
    """Yield name and content of the possible bases: all but the configurations of other networks for ImageNet."""
    arch = config.get("Arch", {}).get("name")
    names = [name for name in config_names() if "/" not in name or name.rpartition("/")[2] == arch]
    for name in [*names, *config_names(bases=True)]:
        file = FOLDER / f"{name}{SUFFIX}"
        if find_base(name, folder / file.name) == file:
            yield name, _read_base(file)


@cache
def _read_base(file: Path) -> Values:
    """Return an included configuration; it is cached, since all configurations of a folder are compared with it."""
    return load(file, components=components())


def _difference(
    base: Values, config: Mapping[str, Any], target: Values, defaults: set[str], known: Components
) -> Values | None:
    """Return the keys that differ from `base`; None if the configuration cannot be expressed with this base."""
    combined = merge(config, _shared(base, config))
    below = canonical(parse_section(Config, combined, known))  # unchecked, since only single values are compared
    keys = _differing(config, base, target, below, defaults, "")
    if keys is None or canonical_of(merge(base, keys), known) != target:
        return None
    return keys


def _differing(
    config: Mapping[str, Any], base: Mapping[str, Any], target: Any, below: Any, defaults: set[str], path: str
) -> Values | None:
    """Return the keys of a mapping that differ from those of the base; keys that only the base has get their defaults.

    None if the base has a key that the configuration cannot have, since a file cannot remove keys of its base.

    Args:
        target: the canonical form of the configuration.
        below: the canonical form of the configuration with the values of the base.
    """
    keys: Values = {}
    for key, value in config.items():
        inner = f"{path}.{key}"
        if key in base:
            one, other = _item(target, key), base[key] if key == NAME else _item(below, key)
            if isinstance(value, Mapping) and isinstance(base[key], Mapping):
                differing = _differing(value, base[key], one, other, defaults, inner)
                if differing is None:
                    return None
                keys |= {key: differing} if differing else {}
            elif one != other:
                keys[key] = copy.deepcopy(value)
        elif isinstance(value, Mapping):
            kept = _without_defaults(value, defaults, inner)
            keys |= {key: kept} if kept else {}
        elif inner not in defaults:
            keys[key] = copy.deepcopy(value)
    for key in base:
        if key not in config:
            if not isinstance(target, Mapping) or key not in target:
                return None
            if target[key] != base[key]:
                keys[key] = copy.deepcopy(target[key])
    return keys


def _shared(base: Mapping[str, Any], config: Mapping[str, Any]) -> Values:
    """Return the keys of the base that the configuration has, too, without the names of components."""
    return {
        key: _shared(value, config[key]) if isinstance(value, Mapping) and isinstance(config[key], Mapping) else value
        for key, value in base.items()
        if key in config and key != NAME
    }


def _item(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, Mapping) else None


def _length(keys: Mapping[str, Any]) -> int:
    return dump(dict(keys)).count("\n")
