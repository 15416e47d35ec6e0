"""What the check knows of a component: the names and types of the options that a configuration may give it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Option:
    """One option: its type annotation, and whether the component cannot be built without it."""

    hint: Any
    required: bool = False


@dataclass(frozen=True)
class Component:
    """A loss, transform, architecture, ... by its name, and its options by theirs."""

    name: str
    options: Mapping[str, Option]

    @classmethod
    def of(cls, constructor: Callable, fixed: Collection[str] = (), name: str | None = None) -> Component:
        """The options of a class or function, from its signature and annotations; without annotation, anything goes.

        Args:
            constructor: what is called with the options.
            fixed: parameters that the program supplies and a configuration may not.
            name: `constructor`'s own by default.
        """
        annotated = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
        hints = get_type_hints(annotated, include_extras=True)
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        options = {
            parameter.name: Option(hints.get(parameter.name, Any), parameter.default is inspect.Parameter.empty)
            for parameter in inspect.signature(constructor).parameters.values()
            if parameter.kind not in several and parameter.name not in fixed
        }
        return cls(name or constructor.__name__, options)
