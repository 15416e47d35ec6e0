"""From names and options to objects: the table of all components, and what makes one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ppzoo import data, deploy, losses, metrics, models, optim
from ppzoo.config import Component, DistillationSection, out_of_float32
from ppzoo.errors import ConfigError
from ppzoo.registry import Registry

Section = Mapping[str, Any]
T = TypeVar("T")

# What the program supplies to the components of a kind, and a configuration may not set.
SUPPLIED = {
    "dataset": {"class_num"},
    "batch_transform": {"class_num"},
    "sampler": {"length", "labels", "seed", "rank", "world_size", "pad"},
    "lr": {"epochs", "steps_per_epoch"},
    "postprocess": {"labels"},
}


def components() -> dict[str, dict[str, Component]]:
    """Everything that a configuration may name, by kind and name, with its options."""
    tables: dict[str, Registry] = {
        "loss": losses.LOSSES,
        "metric": metrics.METRICS,
        "optimizer": optim.OPTIMIZERS,
        "regularizer": optim.REGULARIZERS,
        "lr": optim.SCHEDULES,
        "dataset": data.DATASETS,
        "transform": data.TRANSFORMS,
        "batch_transform": data.BATCH_TRANSFORMS,
        "sampler": data.SAMPLERS,
        "postprocess": deploy.POSTPROCESSES,
    }
    found = {
        kind: {name: Component.of(entry, SUPPLIED.get(kind, ()), name) for name, entry in table.items()}
        for kind, table in tables.items()
    }
    found["arch"] = {name: Component.of(entry.network, entry.fixed, name) for name, entry in models.MODELS.items()}
    distillation = models.DistillationModel.__name__
    found["arch"][distillation] = Component.of(DistillationSection, (), distillation)
    return found


def make(table: Registry[type[T]], name: str, options: Section | None, **supplied: Any) -> T:
    """The entry `name` of a registry, called with a configuration's options and what the program supplies."""
    entry = table[name]
    beyond = [f"{table.kind} {name}: {problem.line()}" for problem in out_of_float32("", options or {})]
    if beyond:
        raise ConfigError(*beyond)
    arguments = {**(options or {}), **supplied}
    try:
        inspect.signature(entry).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{table.kind} {name}: {error}") from error
    try:
        return entry(**arguments)
    except ConfigError as error:
        raise ConfigError(*(f"{table.kind} {name}: {problem}" for problem in error.problems)) from error


def named_options(cfg: Sequence[Section]) -> list[tuple[str, Section | None]]:
    """The (name, options) of a list of single-key mappings."""
    return [next(iter(item.items())) for item in cfg]
