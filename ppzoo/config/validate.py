"""The strict check of plain mappings: unknown keys, types, missing values, contradictions, unsupported features."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from ppzoo.config.component_types import Component, Components, Option
from ppzoo.config.component_uses import at
from ppzoo.config.cross_checks import cross_check
from ppzoo.config.schema import PostProcessConfig, Sections
from ppzoo.config.section import KINDS, Listed, Members, Named, find_mark, known_keys, nested_section
from ppzoo.config.type_checks import Problem, accepts, describe, find_out_of_range, find_problems, is_path, show
from ppzoo.config.unsupported import IGNORED_KEYS, find_other_kind, find_unsupported, unsupported_name
from ppzoo.errors import nearest_name, suggestion, with_article
from ppzoo.files import expand_user

MAX_KEYS = 8  # a message lists all keys of a section with at most so many, else three of them

Task = Literal["train", "eval", "infer", "export"]

NEEDED: dict[Task, dict[str, str]] = {
    "train": {
        "Global.epochs": "the number of epochs",
        "Loss.Train": "a list of losses",
        "Optimizer": "an optimizer",
        "DataLoader.Train": "the training data",
    },
    "eval": {"DataLoader.Eval": "the evaluation data"},
    "infer": {"Infer.transforms": "a list of transforms"},
    "export": {"Infer.transforms": "a list of transforms"},
}
VERBS: dict[str | None, str] = {
    "eval": "evaluate",
    "infer": "predict",
}  # in messages, where they differ from the command


def check(config: Mapping[str, Any], components: Components, task: Task | None = "train") -> list[str]:
    """Return all mistakes of a configuration, one line each.

    A line is `KEY.PATH: expected ..., got ...`, or `KEY.PATH: unknown key; did you mean ...?`.

    Args:
        config: the plain mapping that `load` returns.
        components: kind of component (the keys of `section.KINDS`) -> name -> component.
        task: sections that this task does not need can be missing; with None, all sections except `Arch` can.
    """
    other_kind = find_other_kind(config)
    if other_kind is not None:
        return [other_kind.line()]
    refused = list(find_unsupported(config))
    checker = _Checker(components)
    checker.check_keys("", config, known_keys(Sections))
    found = [*checker.unknown_keys(), *checker.found]
    prefixes = tuple(f"{problem.path}." for problem in found)
    found += [problem for problem in _find_missing(config, task) if not problem.path.startswith(prefixes)]
    found += cross_check(config, components)
    out_of_range = {problem.path: problem for problem in find_out_of_range("", config)}
    found = [*(problem for problem in found if problem.path not in out_of_range), *out_of_range.values()]
    hidden = [f"{path}." for row, _ in refused for path in row.hides]
    found = [problem for problem in found if not f"{problem.path}.".startswith(tuple(hidden))]
    lines = [problem.line() for problem in (*(problem for _, problem in refused), *found)]
    return list(dict.fromkeys(lines))


def expand_paths(config: Mapping[str, Any], components: Components) -> dict[str, Any]:
    """Return the configuration with `~` expanded in every value whose type in the schema or a component is a path."""
    expanded = copy.deepcopy(dict(config))
    checker = _Checker(components)
    checker.check_keys("", expanded, known_keys(Sections))
    for values, key in checker.paths:
        values[key] = _expand(values[key])
    return expanded


def _expand(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand(item) for item in value]
    return expand_user(value) if isinstance(value, str) else value


def find_unknown_keys(config: Mapping[str, Any], components: Components) -> list[tuple[str, ...]]:
    """Return the path of every key that the schema and the components do not know, as keys and list indices."""
    checker = _Checker(components)
    checker.check_keys("", config, known_keys(Sections))
    return [
        (*path.removesuffix(key).rstrip(".").split("."), key) if path != key else (key,)
        for path, key, *_ in checker.unknown
    ]


def check_export(transforms: Any, postprocess: Any, components: Components) -> list[str]:
    """Return all mistakes in the preprocessing and postprocessing of an export, as `check` does for `Infer`."""
    checker = _Checker(components)
    checker.check_listed("PreProcess.transform_ops", transforms, Listed("transform"))
    checker.check_named("PostProcess", postprocess, Named("postprocess", PostProcessConfig))
    return [problem.line() for problem in (*checker.unknown_keys(), *checker.found)]


def _split_of(path: str) -> str:
    """Return "DataLoader.Train." or "DataLoader.Eval." if the path begins with it, else ""."""
    return next((split for split in ("DataLoader.Train.", "DataLoader.Eval.") if path.startswith(split)), "")


def default_name(kind: str, components: Components) -> str | None:
    """Return the name of the component that is used where a configuration names none of its kind."""
    return next((name for name, component in components.get(kind, {}).items() if component.is_default), None)


class _Checker:
    """Compares a configuration with the schema.

    Attributes:
        paths: the mapping and the key of every value that is a path or a list of paths.
        found: mistakes in values.
        unknown: path and key of every unknown key, and the keys that are known there.
        known_paths: key -> the paths outside lists where it is known.
    """

    def __init__(self, components: Components) -> None:
        self.components = components
        self.paths: list[tuple[Any, str]] = []
        self.found: list[Problem] = []
        self.unknown: list[tuple[str, str, Mapping[str, Option], str]] = []
        self.known_paths: dict[str, list[str]] = {}

    def check_keys(
        self, path: str, values: Mapping[str, Any], known: Mapping[str, Option], closed: bool = True, owner: str = ""
    ) -> None:
        """Check a mapping's keys and values; unknown keys are mistakes if it is `closed`.

        `owner` is the component that the keys belong to, for messages.
        """
        if not any(part.isdigit() for part in path.split(".")):
            for key in known:
                self.known_paths.setdefault(key, []).append(_join(path, key))
        for key, value in values.items():
            if key in known:
                if is_path(known[key].hint):
                    self.paths.append((values, key))
                self.check_value(_join(path, key), value, known[key])
            elif closed:
                self.unknown.append((_join(path, key), str(key), known, owner))
        for key, option in known.items():
            if option.required and key not in values:
                self.add(_join(path, key), f"expected {_describe_option(option)}, got nothing")

    def unknown_keys(self) -> Iterator[Problem]:
        """Yield a problem for every unknown key, with a path where it is known, or else the most similar key.

        For an unknown key in `DataLoader.Train`, no path in `DataLoader.Eval` is suggested, and vice versa.
        """
        for path, key, known, owner in self.unknown:
            split = _split_of(path)
            others = (other for other in self.known_paths.get(key, ()) if not split or _split_of(other) in ("", split))
            meant = next(others, None)
            name, colon, value = key.partition(":")
            if colon and name in known:
                yield Problem(path, f"unknown key; write a space after the colon: '{name}: {value}'")
                continue
            reason = IGNORED_KEYS.get(path) or IGNORED_KEYS.get(f"Global.{path}")
            if meant is None and reason:
                yield Problem(path, f"unknown key, remove it: {reason}")
                continue
            if meant is None and (near := nearest_name(key, known)):
                meant = _join(path.removesuffix(key).removesuffix("."), near)
            if meant:
                yield Problem(path, f"unknown key; did you mean {meant}?")
            else:
                yield Problem(path, f"unknown key; known keys{owner and f' of {owner}'}: {', '.join(sorted(known))}")

    def check_value(self, path: str, value: Any, option: Option) -> None:
        mark = find_mark(option)
        section = nested_section(option.hint)
        if value is None and (accepts(None, option.hint) or (section and not option.required)):
            return
        if isinstance(mark, Named):
            self.check_named(path, value, mark)
        elif mark:
            self.check_listed(path, value, mark)
        elif section is None:
            self.found += find_problems(path, value, option.hint)
        elif isinstance(value, Mapping):
            self.check_keys(path, value, known_keys(section))
        else:
            self.add(path, f"expected {_describe_section(known_keys(section))}, got {show(value)}")

    def check_named(self, path: str, value: Any, mark: Named) -> None:
        """Check a mapping with a component's name and options."""
        if not isinstance(value, Mapping):
            fix = f"; set {path}.name to {show(value)}" if isinstance(value, str) else ""
            self.add(path, f"expected {_describe_mapping(mark)}, got {show(value)}{fix}")
            return
        shared = {**known_keys(mark.section), "name": Option(Any)}
        name = value.get("name", default_name(mark.kind, self.components))
        component = self.find_component(_join(path, "name"), name, mark)
        known = {**component.options, **shared} if component else shared
        self.check_keys(path, value, known, closed=component is not None, owner=str(name))

    def check_listed(self, path: str, value: Any, mark: Listed | Members) -> None:
        """Check a list of single-key mappings: a component's name and its options, or any key and a component."""
        if not isinstance(value, list):
            fix = "; write '- ' before each name" if isinstance(value, Mapping) else ""
            self.add(path, f"expected a list of mappings {{Name: options}}, got {show(value)}{fix}")
            return
        for index, item in enumerate(value):
            item_path = _join(path, index)
            if not isinstance(item, Mapping) or len(item) != 1:
                self.add(item_path, f"expected one mapping {{Name: options}}, got {show(item)}{_suggest_item(item)}")
                continue
            ((name, options),) = item.items()
            item_path = _join(item_path, name)
            if isinstance(mark, Members):
                self.check_named(item_path, options, Named(mark.kind, mark.section))
                continue
            component = self.find_component(item_path, name, mark)
            if options is not None and not isinstance(options, Mapping):
                self.add(item_path, f"expected a mapping of options or null, got {show(options)}")
            elif component:
                self.check_keys(item_path, options or {}, {**component.options, **known_keys(mark.section)}, owner=name)

    def find_component(self, path: str, name: Any, mark: Named | Listed) -> Component | None:
        table = self.components.get(mark.kind, {})
        if not isinstance(name, str) or name not in table:
            hint = suggestion(name, table, KINDS[mark.kind]) if table else "; there is none"
            hint = unsupported_name(mark.kind, name) or hint
            self.add(path, f"expected the name of {with_article(KINDS[mark.kind])}, got {show(name)}{hint}")
            return None
        return table[name]

    def add(self, path: str, text: str) -> None:
        self.found.append(Problem(path, text))


def _describe_mapping(mark: Named) -> str:
    return f"a mapping with the name of {with_article(KINDS[mark.kind])} and its options"


def _describe_section(known: Iterable[str]) -> str:
    keys = list(known)
    if len(keys) > MAX_KEYS:
        return f"a mapping with keys such as {', '.join(keys[:3])}"
    return f"a mapping of {', '.join(keys)}"


def _describe_option(option: Option) -> str:
    mark = find_mark(option)
    if isinstance(mark, Named):
        return _describe_mapping(mark)
    return describe(option.hint) if mark is None else "a list of mappings {Name: options}"


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _suggest_item(item: Any) -> str:
    if isinstance(item, str) and item.isidentifier():
        return f"; did you mean '{item}:', with a colon?"
    if isinstance(item, Mapping) and len(item) > 1:
        return f"; indent the options below {next(iter(item))}"
    return ""


def _find_missing(config: Mapping[str, Any], task: Task | None) -> Iterator[Problem]:
    for path, expected in NEEDED[task].items() if task else ():
        value = at(config, path)
        if value is None or value == []:
            got = "nothing" if value is None else "an empty list"
            verb = VERBS.get(task, str(task))
            yield Problem(path, f"expected {expected}, got {got}; required to {verb}")
