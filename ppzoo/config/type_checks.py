"""Compare a value read from YAML with a type annotation, and describe the annotation in a user's words."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from ppzoo.arithmetic import MAX_FLOAT32
from ppzoo.errors import ConfigError, suggestion
from ppzoo.files import IS_PATH
from ppzoo.yaml_io import parse

NAMES = {
    bool: ("true or false", "true or false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    list: ("a list", "lists"),
    tuple: ("a list", "lists"),
    dict: ("a mapping", "mappings"),
    type(None): ("null", "nulls"),
}
LIST_FILES = (".txt", ".csv", ".json", ".names", ".yaml", ".yml")  # endings of files that can contain a list of names
SWITCHES = {True: ("on", "yes", "true"), False: ("off", "no", "false")}


class Problem(NamedTuple):
    """One mistake: its key path, and what was expected, what was found and how to fix it."""

    path: str
    text: str

    def line(self) -> str:
        """Return `PATH: TEXT` on one line; characters that cannot be printed become "?"."""
        return "".join(char if char.isprintable() else "?" for char in f"{self.path}: {self.text}")


@dataclass(frozen=True)
class Limit:
    """A condition on a value beyond its type: `Annotated[int, Limit("an integer of at least 1", at_least_one)]`.

    Attributes:
        description: what is expected, in words.
        holds: whether a value of the right type fulfills the condition.
        schema: the condition as keywords of JSON Schema, as far as these can express it.
    """

    description: str
    holds: Callable[[Any], bool]
    schema: Mapping[str, Any] = field(default_factory=dict, compare=False)


def below(most: int) -> Limit:
    """Return the limit "at most `most`"; as a second limit it is reported only if the first one holds."""
    return Limit(f"an integer of at most {most}", lambda value: value <= most, {"maximum": most})


def find_problems(path: str, value: Any, hint: Any) -> Iterator[Problem]:
    """Yield what is wrong with the `value` at `path`, with the path of the wrong element where that is possible."""
    if value == "None" and isinstance(value, str) and accepts(None, hint):
        yield Problem(path, f"expected {describe(hint)}, got 'None'; did you mean null?")
    elif not accepts(value, hint):
        lacks_brackets = isinstance(value, list) and accepts([value], hint)
        inner = [] if lacks_brackets else list(_problems_inside(path, value, hint))
        if inner:
            yield from inner
        else:
            expected = _broken_limit(value, hint) or describe(hint)
            yield Problem(path, f"expected {expected}, got {show(value)}{_suggest_value(value, hint)}")


def _broken_limit(value: Any, hint: Any) -> str | None:
    """Return the description of the first limit that a value of the right type breaks.

    The result is None if this is the first limit of the annotation, which `describe` contains already.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        found = [_broken_limit(value, arm) for arm in arguments if arm is not type(None)]
        return found[0] if len(found) == 1 and found[0] and len(arguments) == 2 else None
    if origin is not Annotated or not accepts(value, arguments[0]):
        return None
    limits = [extra for extra in arguments[1:] if isinstance(extra, Limit)]
    first = next((limit for limit in limits if not limit.holds(value)), None)
    return None if first is None or first is limits[0] else first.description


def accepts(value: Any, hint: Any) -> bool:
    """Return whether a value fits an annotation; integers fit where a number is expected, lists where a tuple is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return True
    if origin is Annotated:
        limits = [extra for extra in arguments[1:] if isinstance(extra, Limit)]
        return accepts(value, arguments[0]) and all(limit.holds(value) for limit in limits)
    if origin in (Union, types.UnionType):
        return any(accepts(value, arm) for arm in arguments)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin is list:
        return isinstance(value, list) and all(accepts(item, arguments[0]) for item in value)
    if origin is tuple:
        items = _item_hints(value, arguments) if isinstance(value, list | tuple) else None
        return items is not None and all(accepts(*pair) for pair in zip(value, items, strict=True))
    if origin is dict:
        return isinstance(value, dict) and all(accepts(item, arguments[1]) for item in value.values())
    return _is_a(value, origin or hint)


def is_path(hint: Any) -> bool:
    """Return whether an annotation is that of a path or of a list of paths."""
    if get_origin(hint) is Annotated:
        return IS_PATH in get_args(hint)[1:]
    return any(is_path(arm) for arm in get_args(hint))


def if_accepted(value: Any, hint: Any) -> Any:
    """Return the value if it fits an annotation, else None."""
    return value if accepts(value, hint) else None


def find_out_of_range(path: str, value: Any) -> Iterator[Problem]:
    """Yield the numbers at `path` and below that are infinite, NaN, or too large for float32."""
    if isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from find_out_of_range(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, int | float) and not -MAX_FLOAT32 <= value <= MAX_FLOAT32:
        finite = isinstance(value, int) or math.isfinite(value)
        expected = f"a number from -{MAX_FLOAT32:.2g} to {MAX_FLOAT32:.2g}" if finite else "a finite number"
        yield Problem(path, f"expected {expected}, got {show(value)}")


def _is_a(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind in (tuple, Path):
        return isinstance(value, list if kind is tuple else str)
    return isinstance(value, kind)


def _item_hints(items: Any, arguments: tuple[Any, ...]) -> list[Any] | None:
    """Return the annotation of every item of a tuple; None if the number of items is wrong."""
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return [arguments[0]] * len(items)
    return list(arguments) if len(items) == len(arguments) else None


def _problems_inside(path: str, value: Any, hint: Any) -> Iterator[Problem]:
    """Yield the problems of the elements of a container that is of the expected type itself."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from _problems_inside(path, value, arguments[0])
    elif origin in (Union, types.UnionType):
        arms = [arm for arm in arguments if isinstance(value, list | dict) and isinstance(value, _container(arm))]
        if len(arms) == 1:
            yield from _problems_inside(path, value, arms[0])
    elif isinstance(value, list) and origin in (list, tuple):
        hints = [arguments[0]] * len(value) if origin is list else _item_hints(value, arguments) or []
        for index, (item, item_hint) in enumerate(zip(value, hints, strict=False)):
            yield from find_problems(f"{path}.{index}", item, item_hint)
    elif isinstance(value, dict) and origin is dict:
        for key, item in value.items():
            yield from find_problems(f"{path}.{key}", item, arguments[1])


def _container(hint: Any) -> Any:
    origin = get_origin(hint)
    return {list: list, tuple: list, dict: dict}.get(origin, ())


def describe(hint: Any, plural: bool = False) -> str:
    """Return the annotation in words: "an integer", "a list of numbers", "one of 'O1', 'O2'"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if IS_PATH in arguments[1:]:
            return NAMES[Path][plural]
        limits = [extra.description for extra in arguments[1:] if isinstance(extra, Limit)]
        return limits[0] if limits else describe(arguments[0], plural)
    if origin in (Union, types.UnionType):
        words = [describe(arm, plural) for arm in sorted(arguments, key=lambda arm: arm is type(None))]
        return ", ".join(words[:-1]) + f" or {words[-1]}"
    if origin is Literal:
        choices = ", ".join(show(choice) for choice in arguments)
        return f"one of {choices}" if len(arguments) > 1 else choices
    container = NAMES.get(origin, ("", ""))[plural]
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        return f"{container} of {describe(arguments[0], plural=True)}"
    if origin is tuple:
        kinds = set(arguments)
        inner = describe(arguments[0], plural=True) if len(kinds) == 1 else "values"
        return f"{container} of {len(arguments)} {inner}"
    kind = origin or hint
    return NAMES[kind][plural] if kind in NAMES else getattr(kind, "__name__", str(kind))


def show(value: Any) -> str:
    """Return a value as it is shown in an error message, on one line."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, list | tuple):
        return f"the list {value!r}" if len(repr(value)) <= 60 else f"a list of {len(value)}"
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, value))
        return f"the keys {keys!r:.60}" if value else "an empty mapping"
    return repr(value)[:60]


def _suggest_value(value: Any, hint: Any) -> str:
    """Return '; did you mean X?' if a small change of the value fits, else ""."""
    if isinstance(value, str):
        choices = [choice for choice in _choices(hint) if isinstance(choice, str)]
        near = suggestion(value, choices)
        if "did you mean" in near:
            return near
    if _is_file_instead_of_list(value, hint):
        return "; write the list itself, such as [cat, dog], not the name of a file"
    for candidate in _candidates(value):
        if accepts(candidate, hint):
            quotes = ", without quotes" if isinstance(value, str) and not isinstance(candidate, list) else ""
            return f"; did you mean {json.dumps(candidate)}{quotes}?"
    return ""


def _is_file_instead_of_list(value: Any, hint: Any) -> bool:
    return isinstance(value, str) and value.endswith(LIST_FILES) and accepts([value], hint) and not is_path(hint)


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    unions = get_origin(hint) in (Union, types.UnionType)
    return tuple(choice for arm in get_args(hint) for choice in _choices(arm)) if unions else ()


def choice_of_switch(value: bool, hint: Any) -> str | None:
    """Return the choice that YAML reads as this boolean; None if there is no such choice."""
    return next((choice for choice in _choices(hint) if choice in SWITCHES[value]), None)


def _candidates(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        try:
            yield parse(value, "")
        except ConfigError:
            return
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and value.is_integer():
            yield int(value)
        yield str(value)
    if isinstance(value, str) and "," in value:
        yield [part.strip() for part in value.split(",")]
    if not isinstance(value, dict) and value is not None:
        yield [value]
