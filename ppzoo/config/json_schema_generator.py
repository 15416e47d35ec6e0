"""A JSON Schema (draft 2020-12) of configurations, for completion and checks in editors.

It is generated from the dataclasses and components with which `ppzoo check` checks configurations. A file inherits keys
from its base files, so no key is required, except options in lists, which are never merged. JSON Schema cannot express
every rule of `ppzoo check`: some conditions on values are only in descriptions, and contradictions between keys are not
covered. JSON Schema has no notion of YAML anchors, so this schema accepts all unknown sections that do not begin with a
capital letter, except names of sections in lower case; `ppzoo check` requires that their values have or contain an
anchor.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ppzoo.config.component_types import Component, Components, Option, first_paragraph
from ppzoo.config.loading import BASE
from ppzoo.config.schema import Sections
from ppzoo.config.section import (
    KINDS,
    ComponentSpec,
    Listed,
    Members,
    Named,
    Section,
    find_mark,
    known_keys,
    nested_section,
)
from ppzoo.config.type_checks import SWITCHES, Limit

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
JSON_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "string",
    type(None): "null",
    list: "array",
    tuple: "array",
    dict: "object",
}
ATTRIBUTE = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def json_schema(components: Components) -> Schema:
    """Return the JSON Schema of configuration files.

    Args:
        components: kind of component -> name -> component, as returned by `ppzoo.builders.components()`.
    """
    return _SchemaWriter(components).write()


class _SchemaWriter:
    """Collects the definitions of sections and components, which refer to each other by `$ref`."""

    def __init__(self, components: Components) -> None:
        self.components = components
        self.definitions: dict[str, Schema] = {}

    def write(self) -> Schema:
        root = self.describe_section(Sections)
        base = {"description": "Files that this file is merged into.", "type": ["string", "array"]}
        anchors = {_anchor_pattern(root["properties"]): {"description": "YAML anchors that other keys use."}}
        root["properties"] = {BASE: {**base, "items": {"type": "string"}}, **root["properties"]}
        root["patternProperties"] = anchors
        return {"$schema": DIALECT, "title": "ppzoo configuration", **root, "$defs": self.definitions}

    def describe_section(self, section: type[Section]) -> Schema:
        return {
            "description": first_paragraph(section.__doc__),
            **self.describe_keys(known_keys(section), read_attributes(section), _read_defaults(section)),
        }

    def describe_keys(
        self,
        options: Mapping[str, Option],
        texts: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Schema:
        properties = {}
        for key, option in options.items():
            properties[key] = self.describe_option(option)
            if texts and key in texts:
                properties[key] = {**properties[key], "description": texts[key]}
            if defaults and defaults.get(key) is not None:
                properties[key] = {**properties[key], "default": defaults[key]}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def describe_option(self, option: Option) -> Schema:
        mark, section = find_mark(option), nested_section(option.hint)
        if isinstance(mark, Named):
            found = self.define(_title(mark), lambda: self.describe_named(mark))
        elif isinstance(mark, Listed):
            found = {"type": "array", "items": self.define(f"{_title(mark)}_item", lambda: self.describe_item(mark))}
        elif isinstance(mark, Members):
            member = Named(mark.kind, mark.section)
            item = self.define(_title(member), lambda: self.describe_named(member))
            found = {"type": "array", "items": _single_key({"additionalProperties": item})}
        elif section is not None:
            found = self.define(section.__name__, lambda: self.describe_section(section))
        else:
            return _describe_type(option.hint)
        return found if option.required else {"anyOf": [found, {"type": "null"}]}

    def define(self, name: str, describe: Callable[[], Schema]) -> Schema:
        """Return a reference to a definition, which is written if it does not exist."""
        if name not in self.definitions:
            self.definitions[name] = {}  # for recursion
            self.definitions[name] = describe()
        return {"$ref": f"#/$defs/{name}"}

    def describe_named(self, mark: Named) -> Schema:
        """Return the schema of `{name: ..., options}`.

        The name decides which options are allowed. Without a name, the name in a base file or the default name counts;
        the schema knows neither, so the options of all components are allowed.
        """
        table = self.components.get(mark.kind, {})
        cases, keys_of_any = [], dict.fromkeys(known_keys(mark.section), True)
        for name, component in table.items():
            keys = self.describe_component(component, mark)
            keys["properties"] = {"name": {"const": name}, **keys["properties"]}
            keys_of_any |= dict.fromkeys(keys["properties"], True)
            reference = self.define(f"{_title(mark)}.{name}", lambda keys=keys: keys)  # type: ignore[misc]
            cases.append({"if": {"properties": {"name": {"const": name}}, "required": ["name"]}, "then": reference})
        unnamed = {"properties": keys_of_any, "additionalProperties": False}
        return {
            "description": first_paragraph(mark.section.__doc__),
            "type": "object",
            "properties": {"name": {"description": f"Name of the {KINDS[mark.kind]}.", "enum": list(table)}},
            "allOf": [*cases, {"if": {"not": {"required": ["name"]}}, "then": unnamed}],
        }

    def describe_item(self, mark: Listed) -> Schema:
        """Return the schema of `{Name: options or null}`; a list is never merged with that of a base file."""
        properties = {}
        for name, component in self.components.get(mark.kind, {}).items():
            keys = self.describe_component(component, mark)
            required = [key for key, option in component.options.items() if option.required]
            properties[name] = {**keys, "required": required} if required else {**keys, "type": ["object", "null"]}
        return _single_key({"properties": properties, "additionalProperties": False})

    def describe_component(self, component: Component, mark: Named | Listed) -> Schema:
        options = {**component.options, **known_keys(mark.section)}
        keys = self.describe_keys(options, read_attributes(mark.section), _read_defaults(mark.section))
        return {"description": component.description, **keys} if component.description else keys


def _anchor_pattern(sections: Iterable[str]) -> str:
    """Return a regular expression for keys with YAML anchors: no capital at the start, and no section in lower case."""
    return f"^(?!({'|'.join(sections).lower()})$)[^A-Z]"


def _title(mark: Named | Listed) -> str:
    return mark.kind if mark.section is ComponentSpec else mark.section.__name__


def _single_key(content: Schema) -> Schema:
    return {"type": "object", "minProperties": 1, "maxProperties": 1, **content}


def _describe_type(hint: Any) -> Schema:
    """Return the schema of a type annotation; {} accepts every value."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [extra for extra in arguments[1:] if isinstance(extra, Limit)]
        schema = _describe_type(arguments[0])
        for limit in limits:
            schema |= limit.schema
        return {**schema, **({"description": f"Must be {limits[0].description}."} if limits else {})}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_describe_type(arm) for arm in arguments]}
    if origin is Literal:
        return {"enum": [*arguments, *_switches(arguments)]}
    if origin is list:
        return {"type": "array", "items": _describe_type(arguments[0])}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _describe_type(arguments[0])}
    if origin is tuple:
        items = [_describe_type(argument) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _describe_type(arguments[1])}
    kind = origin or hint
    return {"type": JSON_TYPES[kind]} if kind in JSON_TYPES else {}


def _switches(choices: tuple[Any, ...]) -> list[bool]:
    """Return the booleans as which YAML reads choices such as `on` and `off`."""
    return [value for value, words in SWITCHES.items() if set(words) & set(choices)]


def read_attributes(section: type[Section]) -> dict[str, str]:
    """Return the descriptions under "Attributes:" in the docstrings of a section and its base classes."""
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, Section) and base is not Section:
            text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
            for names, description in ATTRIBUTE.findall(text):
                found |= dict.fromkeys(names.split(", "), " ".join(description.split()))
    return found


def _read_defaults(section: type[Section]) -> dict[str, Any]:
    """Return the defaults of a section's keys that are plain values."""
    plain = (bool, int, float, str, tuple)
    found = {key.name: key.default for key in fields(section) if key.default is not MISSING}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in found.items()
        if isinstance(value, plain)
    }
