"""The components that a plain configuration uses, with their key paths; malformed parts are skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ppzoo.config.component_types import Component, Components


class Use(NamedTuple):
    """A component that a configuration uses.

    Attributes:
        path: key path at which the component is named.
        kind: kind of component, such as "loss".
        options: its options in the configuration.
        component: what its class declares; None for an unknown name.
    """

    path: str
    kind: str
    name: str
    options: Mapping[str, Any]
    component: Component | None


def at(config: Any, path: str) -> Any:
    """Return the value at a path of keys; None if there is none."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def list_items(config: Any, path: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield path, name and options of each `{Name: options}` in the list at a path."""
    values = at(config, path)
    for index, item in enumerate(values if isinstance(values, list) else []):
        if isinstance(item, Mapping) and len(item) == 1:
            ((name, options),) = item.items()
            yield f"{path}.{index}.{name}", name, options if isinstance(options, Mapping) else {}


class ComponentUses:
    """The components of a configuration, and the values of its keys."""

    def __init__(self, config: Mapping[str, Any], components: Components) -> None:
        self.config, self.components = config, components
        self.arch = self.find_named("arch", "Arch")
        self.post_process = self.find_named("postprocess", "Infer.PostProcess")
        self.datasets = [self.find_named("dataset", f"DataLoader.{split}.dataset") for split in ("Train", "Eval")]
        self.losses = [use for split in ("Train", "Eval") for use in self.find_listed("loss", f"Loss.{split}")]
        self.metrics = [use for split in ("Train", "Eval") for use in self.find_listed("metric", f"Metric.{split}")]

    def at(self, path: str) -> Any:
        """Return the value at a path of keys; None if there is none."""
        return at(self.config, path)

    def find_named(self, kind: str, path: str) -> Use:
        """Return the component of a mapping `{name: ..., options}`."""
        values = self.at(path)
        name = self.at(f"{path}.name")
        options = values if isinstance(values, Mapping) else {}
        return Use(f"{path}.name", kind, name, options, self.find_component(kind, name))

    def find_listed(self, kind: str, path: str) -> Iterator[Use]:
        """Yield the components of a list of `{Name: options}`."""
        for inner, name, options in list_items(self.config, path):
            yield Use(inner, kind, name, options, self.find_component(kind, name))

    def find_component(self, kind: str, name: Any) -> Component | None:
        """Return the component of a name; None if it is unknown."""
        return self.components.get(kind, {}).get(name) if isinstance(name, str) else None

    def names_with(self, kind: str, **declared: Any) -> str:
        """Return the names of the components of a kind that declare all of these values, such as "A, B or C"."""
        found = [
            name
            for name, component in self.components.get(kind, {}).items()
            if all(getattr(component, key) == value for key, value in declared.items())
        ]
        return " or ".join(filter(None, [", ".join(found[:-1]), *found[-1:]])) or "another component"
