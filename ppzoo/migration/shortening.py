"""Find the included configuration that is nearest to a configuration, and the keys that differ from it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ppzoo.config import Components, Config, dump, load, merge
from ppzoo.config.packaged_configs import FOLDER, SUFFIX, config_names, find_base
from ppzoo.errors import ConfigError
from ppzoo.migration.canonical import canonical

MAX_TRIED = 6  # bases that are compared key by key, in the order of a rough comparison


class Shortened(NamedTuple):
    """A configuration as the keys that differ from a base; `base` is the name of an included configuration."""

    base: str | None
    keys: dict[str, Any]


def shorten(config: Mapping[str, Any], components: Components, folder: Path) -> Shortened:
    """Return the shortest form of a valid configuration.

    Args:
        folder: where the file will be; a file there that hides an included configuration excludes it as a base.
    """
    target = canonical_of(config, components)
    ranked = sorted(_rank(config, target, components), key=lambda row: row[0])
    best = Shortened(None, dict(config))
    for _, name, base in ranked[:MAX_TRIED]:
        if find_base(name, folder / "migrated.yaml") != FOLDER / f"{name}{SUFFIX}":
            continue
        keys = _difference(base, config, target, components)
        if keys is not None and _length(keys) + 1 < _length(best.keys):
            best = Shortened(name, keys)
    return best


def is_equal(short: Mapping[str, Any], target: dict[str, Any] | None, components: Components) -> bool:
    """Return whether a plain configuration has the canonical form `target`."""
    return target is not None and canonical_of(short, components) == target


def canonical_of(config: Mapping[str, Any], components: Components) -> dict[str, Any] | None:
    """Return the canonical form; None if the configuration is not valid."""
    try:
        return canonical(Config.parse(config, components, task=None))
    except ConfigError:
        return None


def _rank(
    config: Mapping[str, Any], target: dict[str, Any] | None, components: Components
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield the included configurations that fit, each with a rough number of different values."""
    arch = config.get("Arch", {}).get("name")
    names = [name for name in config_names() if "/" not in name or name.rpartition("/")[2] == arch]
    for name in [*names, *config_names(bases=True)]:
        base = load(FOLDER / f"{name}{SUFFIX}", components=components)
        below = canonical_of(merge(config, base), components)
        if below is not None:
            yield _distance(below, target) + len(_leaves(config) - _leaves(base)), name, base


def _distance(one: Any, other: Any) -> int:
    """Return the number of values that differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return sum(_distance(one.get(key), other.get(key)) for key in {**one, **other})
    return int(one != other)


def _leaves(config: Any, path: str = "") -> set[str]:
    """Return the paths of all values that are no mappings."""
    if not isinstance(config, Mapping):
        return {path}
    return {leaf for key, value in config.items() for leaf in _leaves(value, f"{path}.{key}")}


def _difference(
    base: Mapping[str, Any], config: Mapping[str, Any], target: dict[str, Any] | None, components: Components
) -> dict[str, Any] | None:
    """Return the keys to write above `base`; None if the configuration cannot be expressed with this base."""
    keys = copy.deepcopy(dict(config))
    if not _reset_other_keys(keys, base, target):
        return None
    if not is_equal(merge(base, keys), target, components):
        return None
    _drop_equal_keys(keys, keys, lambda: is_equal(merge(base, keys), target, components))
    return keys


def _reset_other_keys(keys: dict[str, Any], base: Mapping[str, Any], target: Any) -> bool:
    """Write the defaults of the keys that only the base has, since a file cannot remove keys of its base."""
    for key, below in base.items():
        if key in keys:
            inner = target.get(key) if isinstance(target, Mapping) else None
            both = isinstance(keys[key], dict) and isinstance(below, Mapping)
            if both and not _reset_other_keys(keys[key], below, inner):
                return False
        elif not isinstance(target, Mapping) or key not in target:
            return False
        else:
            keys[key] = copy.deepcopy(target[key])
    return True


def _drop_equal_keys(whole: dict[str, Any], keys: dict[str, Any], is_still_equal: Any) -> None:
    """Remove every key without which the result is the same: whole mappings first, then the keys in them."""
    for key in list(keys):
        before = list(keys.items())
        value = keys.pop(key)
        if is_still_equal():
            continue
        keys.clear()
        keys.update(before)  # in their order
        if isinstance(value, dict):
            _drop_equal_keys(whole, value, is_still_equal)


def _length(keys: Mapping[str, Any]) -> int:
    return dump(keys).count("\n")
