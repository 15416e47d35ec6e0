"""Descriptions of components for the configuration check: their options, and what their classes declare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_type_hints


@dataclass(frozen=True)
class Option:
    """One option of a component, or one key of a section: its type annotation, and whether it must be given."""

    hint: Any
    required: bool = False


@dataclass(frozen=True)
class Component:
    """A loss, transform, architecture, ... by its name, its options, and what it declares about itself.

    The attributes after `description` are declared by the component's class, as class attributes of the same names; all
    of these are optional.

    Attributes:
        name: its name in configurations.
        options: option name -> type and whether it is required.
        description: first paragraph of its docstring.
        is_default: it is used where a configuration gives no name.
        label_kind: "single" or "multi": whether it requires one label per image or several; None if both work.
        outputs: number of outputs that a network has, or that a loss or metric requires.
        networks: "several" for an architecture that holds several networks, and for the losses, metrics and
            postprocessing steps that work on the outputs of such an architecture.
        network_options: options of a loss, metric or postprocessing that name networks: a name, a list of names, or
            a list of [trained network, teacher] pairs.
        key_options: for a loss with pairs of networks, its options that name inner layers, alternately of the first and
            of the second network of each pair.
        trains_pairs: a loss with pairs of networks trains both networks of a pair, not only the first.
        needs_evaluation: it works only if the network is evaluated during training.
        increasing_metric_if: option and value with which a schedule requires a main metric whose higher values are
            better; None if it never does.
        higher_is_better: whether higher values of the main metric of a metric component are better.
        decoupled_weight_decay: the weight decay of the optimizer is not part of the gradient, so that the optimizer
            accepts no regularizer.
        required_classes: the only number of classes that a metric or postprocessing accepts; None if it accepts any.
        renamed: names of its keys in PaddleClas -> their names here; configurations can use either name of a key.
    """

    name: str
    options: Mapping[str, Option]
    description: str = ""
    is_default: bool = False
    label_kind: Literal["single", "multi"] | None = None
    outputs: int = 1
    networks: Literal["one", "several"] = "one"
    network_options: tuple[str, ...] = ()
    key_options: tuple[str, ...] = ()
    trains_pairs: bool = False
    needs_evaluation: bool = False
    increasing_metric_if: tuple[str, str] | None = None
    higher_is_better: bool = True
    decoupled_weight_decay: bool = False
    required_classes: int | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, constructor: Callable[..., Any], fixed: Collection[str] = (), name: str | None = None) -> Component:
        """Read options from the signature and annotations of a class or function, and what it declares.

        Options without an annotation accept any value.

        Args:
            constructor: the class or function that is called with the options.
            fixed: parameters that the program supplies and a configuration cannot set.
            name: the constructor's name by default.
        """
        annotated = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
        hints = get_type_hints(annotated, include_extras=True)
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        options = {
            parameter.name: Option(hints.get(parameter.name, Any), parameter.default is inspect.Parameter.empty)
            for parameter in inspect.signature(constructor).parameters.values()
            if parameter.kind not in variadic and parameter.name not in fixed
        }
        declared = {key: getattr(constructor, key) for key in DECLARED if hasattr(constructor, key)}
        declared["is_default"] = vars(constructor).get("is_default", False)  # subclasses do not inherit it
        return cls(name or constructor.__name__, options, first_paragraph(constructor.__doc__), **declared)


DECLARED = tuple(key.name for key in fields(Component) if key.name not in ("name", "options", "description"))


def first_paragraph(docstring: str | None) -> str:
    """Return the first paragraph of a docstring on one line; "" without one."""
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split()) if docstring else ""


Components = Mapping[str, Mapping[str, Component]]
"""Kind of component (the keys of `section.KINDS`) -> name -> component."""
