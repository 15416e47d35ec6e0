"""Base classes of the schema's sections, and how a section marks the components in it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from ppzoo.config.component_types import Option

KINDS = {
    "arch": "architecture",
    "batch_transform": "batch transform",
    "dataset": "dataset",
    "loss": "loss",
    "lr": "learning-rate schedule",
    "metric": "metric",
    "optimizer": "optimizer",
    "postprocess": "postprocessing step",
    "regularizer": "regularizer",
    "sampler": "sampler",
    "transform": "transform",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A mapping of a configuration.

    Attributes:
        given: its keys in the file, in their order; None if the file does not have the section, or has null for it.
    """

    given: tuple[str, ...] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class ComponentSpec(Section):
    """A component by its name and its own options, which must not be modified."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def option(self, name: str, default: Any = None) -> Any:
        """Return the value of an option, or `default` where it is not given."""
        return self.options.get(name, default)


@dataclass(frozen=True)
class Named:
    """Marks a mapping `{name: ..., options}` of a component of `kind`; `section` is the class of the value."""

    kind: str
    section: type[Section] = ComponentSpec


@dataclass(frozen=True)
class Listed:
    """Marks a list of single-key mappings `{Name: options}` of components of `kind`."""

    kind: str
    section: type[Section] = ComponentSpec


@dataclass(frozen=True)
class Members:
    """Marks a list of single-key mappings `{any key: {name: ..., options}}` of components of `kind`."""

    kind: str
    section: type[Section]


Mark = Named | Listed | Members
COMPONENT_OPTION = {"is_component_option": True}
"""Metadata of a field for an option that only some components of the kind have; their constructors declare its type."""

NOT_KEYS = ("spec", "given")


def known_keys(section: type[Section], *, component_options: bool = False) -> dict[str, Option]:
    """Return the keys of a section that all components of its kind have, such as `pretrained` of `Arch`, as options.

    Args:
        section: its class; `ComponentSpec` has no such keys.
        component_options: return the other keys instead: the fields marked with `COMPONENT_OPTION`.
    """
    if section is ComponentSpec:
        return {}
    return {
        key: option
        for key, option in all_keys(section).items()
        if (key in _component_options(section)) == component_options
    }


def all_keys(section: type[Section]) -> Mapping[str, Option]:
    """Return all keys that are fields of a section, as options."""
    if section not in _KEYS:
        hints = get_type_hints(section, include_extras=True)
        _KEYS[section] = {
            key.name: Option(hints[key.name], required=key.default is MISSING and key.default_factory is MISSING)
            for key in fields(section)
            if key.name not in NOT_KEYS
        }
    return _KEYS[section]


_KEYS: dict[type[Section], Mapping[str, Option]] = {}  # reading annotations takes most of the time of a check


def _component_options(section: type[Section]) -> set[str]:
    return {key.name for key in fields(section) if key.metadata.get("is_component_option")}


def find_mark(option: Option) -> Mark | None:
    """Return the mark of an option that describes components; None if it describes none."""
    return next((mark for mark in get_args(option.hint)[1:] if isinstance(mark, Mark)), None)


def nested_section(hint: Any) -> type[Section] | None:
    """Return the section class of an annotation `Section` or `Section | None`; None for other annotations."""
    arms = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, Section)), None)
