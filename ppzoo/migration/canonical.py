"""The canonical form of a configuration: every key of the schema and every option with its value or its default.

Two configurations with equal canonical forms describe the same run. This is how a migrated file is proven to be equal
to its source, although one of the two writes defaults that the other omits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from ppzoo.builders.component_factory import TABLES
from ppzoo.config import ComponentSpec, Config
from ppzoo.config.section import NOT_KEYS, Listed, Members, Named, Section, all_keys, find_mark
from ppzoo.data.transforms import NormalizeImage
from ppzoo.models import MODELS


def canonical(config: Config) -> dict[str, Any]:
    """Return the canonical form of a checked configuration."""
    return _section(config, None)


def _section(section: Section, kind: str | None, *, is_named: bool = True) -> dict[str, Any]:
    values: dict[str, Any] = {}
    spec = section if isinstance(section, ComponentSpec) else getattr(section, "spec", None)
    if spec is not None:
        values = {**({"name": spec.name} if is_named else {}), **_options(spec, kind)}
    if isinstance(section, ComponentSpec):
        return values
    options = all_keys(type(section))
    for field in fields(section):
        if field.name not in NOT_KEYS:
            values[field.name] = _value(getattr(section, field.name), find_mark(options[field.name]))
    return values


def _value(value: Any, mark: Named | Listed | Members | None) -> Any:
    if value is None:
        return None
    if isinstance(mark, Listed):
        return [{_name(item): _section(item, mark.kind, is_named=False)} for item in value]
    if isinstance(mark, Members):
        return [{name: _section(member, mark.kind)} for name, member in value.items()]
    if isinstance(value, Section):
        return _section(value, mark.kind if mark else None)
    return _plain(value)


def _name(item: Any) -> str:
    name: str = item.name if isinstance(item, ComponentSpec) else item.spec.name
    return name


def _options(spec: ComponentSpec, kind: str | None) -> dict[str, Any]:
    """Return all options of a component; for `NormalizeImage`, texts such as "1.0/255.0" become numbers."""
    options = {**_defaults(kind or "", spec.name), **_plain(spec.options)}
    if kind == "transform" and spec.name == NormalizeImage.__name__:
        built = NormalizeImage(**spec.options)
        options |= {"scale": float(built.scale), "mean": built.mean.tolist(), "std": built.std.tolist()}
    return options


@cache
def _defaults(kind: str, name: str) -> Mapping[str, Any]:
    """Return the defaults of a component's options; all calls return the same objects, which must not be modified."""
    constructor: Callable[..., Any] | None = TABLES[kind].get(name) if kind in TABLES else None
    fixed: Mapping[str, Any] = {}
    if kind == "arch" and name in MODELS:
        constructor, fixed = MODELS[name].network, MODELS[name].fixed
    if constructor is None:
        return {}
    parameters = inspect.signature(constructor).parameters.values()
    return {
        one.name: _plain(one.default) for one in parameters if one.default is not one.empty and one.name not in fixed
    }


def _plain(value: Any) -> Any:
    """Return a value with lists instead of tuples, as YAML has them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
