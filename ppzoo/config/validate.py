"""The strict check: every key known, every type right, nothing missing, nothing asked for that ppzoo cannot do."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from ppzoo.config.component_types import Component, Option
from ppzoo.config.cross_checks import at, cross_check
from ppzoo.config.schema import (
    KINDS,
    Configuration,
    Listed,
    Members,
    Named,
    PostProcessSection,
    known_keys,
    mark_of,
    nested,
)
from ppzoo.config.type_checks import Problem, accepts, describe, out_of_float32, problems, show
from ppzoo.config.unsupported import unsupported
from ppzoo.errors import suggestion
from ppzoo.files import IS_PATH, expand_user

Task = Literal["train", "eval", "infer", "export"]
Components = Mapping[str, Mapping[str, Component]]

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


def check(config: Mapping[str, Any], components: Components, task: Task = "train") -> list[str]:
    """All mistakes of a configuration, one line each: `KEY.PATH: expected ..., received ...; did you mean ...?`

    Args:
        config: the plain mapping that `load` answers.
        components: kind of component (the keys of `schema.KINDS`) -> name -> component.
        task: what the configuration is wanted for; sections that the task can do without may be missing.
    """
    refused = list(unsupported(config))
    total = [problem for row, problem in refused if row.is_all]
    if total:
        return [total[0].line()]
    checker = _Checker(components)
    checker.keys("", config, known_keys(Configuration))
    found = [*checker.unknown_keys(), *checker.found]
    below = tuple(f"{problem.path}." for problem in found)
    found += [problem for problem in _missing(config, task) if not problem.path.startswith(below)]
    found += cross_check(config)
    beyond = {problem.path: problem for problem in out_of_float32("", config)}
    found = [*(problem for problem in found if problem.path not in beyond), *beyond.values()]
    lines = [problem.line() for _, problem in refused]
    lines += [problem.line() for problem in found]
    return list(dict.fromkeys(lines))


def expand_paths(config: Mapping[str, Any], components: Components) -> dict[str, Any]:
    """The configuration with `~` expanded in every value that the schema or a component calls a path."""
    expanded = copy.deepcopy(dict(config))
    checker = _Checker(components)
    checker.keys("", expanded, known_keys(Configuration))
    for values, key in checker.paths:
        values[key] = _expanded(values[key])
    return expanded


def _expanded(value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return expand_user(value) if isinstance(value, str) else value


def check_export(transforms: Any, postprocess: Any, components: Components) -> list[str]:
    """All mistakes in the preprocessing and the post-processing of an export, as `check` reports those of `Infer`."""
    checker = _Checker(components)
    checker.listed("PreProcess.transform_ops", transforms, Listed("transform"))
    checker.named("PostProcess", postprocess, Named("postprocess", PostProcessSection))
    return [problem.line() for problem in (*checker.unknown_keys(), *checker.found)]


class _Checker:
    """Walks a configuration along the schema.

    Attributes:
        paths: the mapping and the key of every value that is a path or a list of paths.
        found: what does not fit.
        unknown: path and key of every unknown key, and the keys that are known in its place.
        places: key -> the first place outside lists where it is known.
    """

    def __init__(self, components: Components) -> None:
        self.components = components
        self.paths: list[tuple[Any, str]] = []
        self.found: list[Problem] = []
        self.unknown: list[tuple[str, str, Mapping[str, Option]]] = []
        self.places: dict[str, str] = {}

    def keys(self, path: str, values: Mapping[str, Any], known: Mapping[str, Option], closed: bool = True) -> None:
        """Check a mapping's keys and values; where it is not `closed`, keys that are not `known` pass."""
        if not any(part.isdigit() for part in path.split(".")):
            self.places = {key: _join(path, key) for key in known} | self.places
        for key, value in values.items():
            if key in known:
                if _is_path(known[key].hint):
                    self.paths.append((values, key))
                self.value(_join(path, key), value, known[key])
            elif closed:
                self.unknown.append((_join(path, key), str(key), known))
        for key, option in known.items():
            if option.required and key not in values:
                self.add(_join(path, key), f"expected {_wanted(option)}, got nothing")

    def unknown_keys(self) -> Iterator[Problem]:
        """One problem for every unknown key, with the place where it is known, or else the key most like it."""
        for path, key, known in self.unknown:
            place = self.places.get(key)
            mend = f"; did you mean {place!r}?" if place else suggestion(key, known)
            yield Problem(path, f"expected a known key, got {show(key, bare=True)}{mend}")

    def value(self, path: str, value: Any, option: Option) -> None:
        mark = mark_of(option)
        section = nested(option.hint)
        if value is None and (accepts(None, option.hint) or (section and not option.required)):
            return
        if isinstance(mark, Named):
            self.named(path, value, mark)
        elif mark:
            self.listed(path, value, mark)
        elif section is None:
            self.found += problems(path, value, option.hint)
        elif isinstance(value, Mapping):
            self.keys(path, value, known_keys(section))
        else:
            self.add(path, f"expected a mapping, got {show(value)}")

    def named(self, path: str, value: Any, mark: Named) -> None:
        """A mapping with a component's name and options."""
        if not isinstance(value, Mapping):
            self.add(path, f"expected {_mapping_of(mark)}, got {show(value)}")
            return
        shared = {**known_keys(mark.section), "name": Option(Any)}
        component = self.component(_join(path, "name"), value.get("name", getattr(mark.section, "name", None)), mark)
        known = {**component.options, **shared} if component else shared
        self.keys(path, value, known, closed=component is not None)

    def listed(self, path: str, value: Any, mark: Listed | Members) -> None:
        """A list of single-key mappings, each a component's name and options, or any key and a component."""
        if not isinstance(value, list):
            self.add(path, f"expected a list of mappings {{Name: options}}, got {show(value)}")
            return
        for index, item in enumerate(value):
            place = _join(path, index)
            if not isinstance(item, Mapping) or len(item) != 1:
                self.add(place, f"expected one mapping {{Name: options}}, got {show(item)}{_item_mend(item)}")
                continue
            ((name, options),) = item.items()
            place = _join(place, name)
            if isinstance(mark, Members):
                self.named(place, options, Named(mark.slot, mark.section))
                continue
            component = self.component(place, name, mark)
            if options is not None and not isinstance(options, Mapping):
                self.add(place, f"expected a mapping of options or null, got {show(options)}")
            elif component:
                self.keys(place, options or {}, {**component.options, **known_keys(mark.section)})

    def component(self, path: str, name: Any, mark: Named | Listed) -> Component | None:
        table = self.components.get(mark.slot, {})
        if not isinstance(name, str) or name not in table:
            mend = suggestion(name, table) if table else "; there is none yet"
            self.add(path, f"expected the name of {_kind(mark)}, got {show(name, bare=True)}{mend}")
            return None
        return table[name]

    def add(self, path: str, text: str) -> None:
        self.found.append(Problem(path, text))


def _kind(mark: Named | Listed) -> str:
    noun = KINDS[mark.slot]
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _mapping_of(mark: Named) -> str:
    return f"a mapping with the name of {_kind(mark)} and its options"


def _is_path(hint: Any) -> bool:
    """Whether a path fits an annotation, alone or in a list."""
    if get_origin(hint) is Annotated:
        return IS_PATH in get_args(hint)[1:]
    return any(_is_path(arm) for arm in get_args(hint))


def _wanted(option: Option) -> str:
    mark = mark_of(option)
    return _mapping_of(mark) if isinstance(mark, Named) else describe(option.hint)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _item_mend(item: Any) -> str:
    if isinstance(item, str) and item.isidentifier():
        return f"; did you mean '{item}:', with a colon?"
    if isinstance(item, Mapping) and len(item) > 1:
        return f"; indent the options below {next(iter(item))}"
    return ""


def _missing(config: Mapping[str, Any], task: Task) -> Iterator[Problem]:
    for path, expected in NEEDED[task].items():
        value = at(config, path)
        if value is None or value == []:
            received = "nothing" if value is None else "an empty list"
            yield Problem(path, f"expected {expected}, got {received}; this is needed to {task}")
