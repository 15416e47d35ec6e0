"""Convert plain mappings to frozen sections and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, cast

from ppzoo.config.arch_sections import ArchConfig, DistillationConfig
from ppzoo.config.component_types import Component, Components, Option
from ppzoo.config.schema import Sections
from ppzoo.config.section import (
    KINDS,
    ComponentSpec,
    Listed,
    Members,
    Named,
    Section,
    all_keys,
    find_mark,
    nested_section,
)
from ppzoo.config.validate import Task, check, default_name, expand_paths
from ppzoo.errors import ConfigError

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Config(Sections):
    """A checked configuration; what a run derives from its data is added by `dataclasses.replace`."""

    @classmethod
    def parse(cls, raw: Mapping[str, Any], components: Components, task: Task | None = "train") -> Config:
        """Check a plain mapping and convert it.

        Args:
            raw: sections as in a YAML file; `~` in paths is expanded.
            components: kind of component -> name -> component, as returned by `ppzoo.builders.components()`.
            task: sections that this task does not need can be missing; with None, all sections except `Arch` can.

        Raises:
            ConfigError: all mistakes, one line each.
        """
        expanded = expand_paths(raw, components)
        problems = check(expanded, components, task)
        if problems:
            raise ConfigError(*problems)
        return parse_section(cls, expanded, components)

    def to_dict(self, *, max_class_names: int | None = None) -> dict[str, Any]:
        """Return the plain mapping: the keys that were given, in their order, and then those that were derived.

        Args:
            max_class_names: a longer list `Global.class_names` is omitted.
        """
        plain = to_plain(self) or {}
        if max_class_names is not None and len(self.Global.class_names or ()) > max_class_names:
            del plain["Global"]["class_names"]
        return plain

    def with_class_num(self, class_num: int) -> Config:
        """Return the configuration with `Arch.class_num`."""
        return replace(self, Arch=self.Arch.with_class_num(class_num))

    def with_class_names(self, names: Sequence[str] | None) -> Config:
        """Return the configuration with `Global.class_names`; unchanged without names."""
        return replace(self, Global=replace(self.Global, class_names=tuple(names))) if names else self


def parse_section(section: type[SectionT], values: Mapping[str, Any], components: Components) -> SectionT:
    """Convert a checked mapping to a section that is not a component."""
    return section(**_parse_fields(section, values, components))


def parse_component(
    section: type[SectionT], kind: str, values: Mapping[str, Any] | SectionT, components: Components
) -> SectionT:
    """Convert `{name: ..., options}` to the section of a component; a section is returned unchanged.

    Raises:
        ConfigError: the name is missing and no component of the kind is the default, or a required key is missing.
    """
    if isinstance(values, section):
        return values
    assert not isinstance(values, Section)
    name = values.get("name", default_name(kind, components))
    if not isinstance(name, str):
        known = ", ".join(components.get(kind, {}))
        raise ConfigError(f"{KINDS[kind]}: expected a mapping with a name ({known}), got {dict(values)!r:.60}")
    return _component(section, kind, name, values, components, named=True)


def parse_components(
    section: type[SectionT], kind: str, items: Sequence[Mapping[str, Any] | SectionT], components: Components
) -> tuple[SectionT, ...]:
    """Convert a list of `{Name: options}`; sections in it are returned unchanged.

    Raises:
        ConfigError: `items` is a text or a mapping, an entry is no such mapping, or a required key is missing.
    """
    if isinstance(items, (str, Mapping)):
        raise ConfigError(f"{KINDS[kind]}: expected a list of mappings {{Name: options}}, got {items!r:.60} alone")
    parsed: list[SectionT] = []
    for item in items:
        if isinstance(item, section):
            parsed.append(item)
            continue
        if not isinstance(item, Mapping) or len(item) != 1:
            raise ConfigError(f"{KINDS[kind]}: expected a mapping {{Name: options}}, got {item!r:.60}")
        ((name, options),) = item.items()
        parsed.append(_component(section, kind, name, options, components, named=False))
    return tuple(parsed)


def to_plain(section: Section, *, is_named: bool = True) -> dict[str, Any] | None:
    """Return the plain mapping of a section.

    The result is None for a null in the file, and for a section that is not in the file and has only default values.

    Args:
        is_named: whether the mapping of a component has the key `name`; in a list, `{Name: options}` has the name.
    """
    entries, unset = _entries(section, is_named)
    given = section.given
    keys = [key for key in given or () if key in entries]
    keys += [key for key in entries if key not in keys and key not in unset]
    return {key: entries[key] for key in keys} if keys or given is not None else None


def _entries(section: Section, is_named: bool) -> tuple[dict[str, Any], set[str]]:
    """Return all keys with their plain values, and those that need not be written unless they were given."""
    entries: dict[str, Any] = {}
    unset: set[str] = set()
    spec = section if isinstance(section, ComponentSpec) else getattr(section, "spec", None)
    if spec is not None:
        entries = copy.deepcopy(dict(spec.options))
        if is_named:
            entries = {"name": spec.name, **entries}
            unset |= {"name"} if section.given is not None else set()
    if isinstance(section, ComponentSpec):
        return entries, unset
    defaults = {key.name: key.default for key in fields(section)}
    for key, option in all_keys(type(section)).items():
        value = getattr(section, key)
        entries[key] = _plain_value(value, option)
        if value == defaults[key]:
            unset.add(key)
    return entries, unset


def _plain_value(value: Any, option: Option) -> Any:
    mark = find_mark(option)
    if value is None:
        return None
    if isinstance(mark, Listed):
        return to_plain_list(value)
    if isinstance(mark, Members):
        return [{name: to_plain(member)} for name, member in value.items()]
    return to_plain(value) if isinstance(value, Section) else _to_lists(value)


def to_plain_list(items: Sequence[Section]) -> list[dict[str, Any]]:
    """Return components as a list of `{Name: options}`."""
    return [{_spec_of(item).name: to_plain(item, is_named=False)} for item in items]


def _spec_of(item: Section) -> ComponentSpec:
    return item if isinstance(item, ComponentSpec) else item.spec  # type: ignore[attr-defined]


def _component(
    section: type[SectionT],
    kind: str,
    name: str,
    values: Mapping[str, Any] | None,
    components: Components,
    *,
    named: bool,
) -> SectionT:
    component = components.get(kind, {}).get(name)
    chosen: Any = DistillationConfig if section is ArchConfig and _has_several_networks(component) else section
    typed = {} if chosen is ComponentSpec else _parse_fields(chosen, values or {}, components)
    known = {*typed, "name"} if named else typed
    options = {key: copy.deepcopy(value) for key, value in (values or {}).items() if key not in known}
    given = None if values is None else tuple(values)
    if chosen is ComponentSpec:
        return cast(SectionT, ComponentSpec(name, options, given=given))
    for key, option in all_keys(chosen).items():
        if option.required and typed.get(key) is None:
            raise ConfigError(f"{KINDS[kind]} {name}: missing option {key!r}")
    return chosen(**{**typed, "given": given, "spec": ComponentSpec(name, options)})


def _has_several_networks(component: Component | None) -> bool:
    return component is not None and component.networks == "several"


def _parse_fields(section: type[Section], values: Mapping[str, Any], components: Components) -> dict[str, Any]:
    """Return the values of a section's fields that a mapping gives, converted."""
    chosen: dict[str, Any] = {"given": tuple(values)}
    for key, option in all_keys(section).items():
        if key in values and not (values[key] is None and nested_section(option.hint)):
            chosen[key] = _parse_value(values[key], option, components)
    return chosen


def _parse_value(value: Any, option: Option, components: Components) -> Any:
    mark, section = find_mark(option), nested_section(option.hint)
    if value is None:
        return None
    if isinstance(mark, Named):
        return parse_component(mark.section, mark.kind, value, components)
    if isinstance(mark, Listed):
        return parse_components(mark.section, mark.kind, value, components)
    if isinstance(mark, Members):
        members = [entry for item in value for entry in item.items()]
        return {name: parse_component(mark.section, mark.kind, member, components) for name, member in members}
    return parse_section(section, value, components) if section else _to_tuples(value)


def _to_tuples(value: Any) -> Any:
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value


def _to_lists(value: Any) -> Any:
    return list(map(_to_lists, value)) if isinstance(value, tuple) else value
