"""Whole configurations: read and checked for a task, or rehearsed without their data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ppzoo import config as configuration
from ppzoo.build.components import Section, components
from ppzoo.build.networks import class_count, model
from ppzoo.build.parts import batch_transforms, loss, metric, optimizer, postprocess, transforms
from ppzoo.config import Configuration, settings
from ppzoo.errors import ConfigError


def read_config(path: str, overrides: Sequence[str], task: configuration.Task) -> dict[str, Any]:
    """The configuration of a file with its overrides, checked for `task`.

    Raises:
        ConfigError: all that is wrong with it, files that do not exist included.
    """
    config = configuration.load(path, overrides)
    problems = configuration.check(config, components(), task) or configuration.check_files(config, task)
    if problems:
        raise ConfigError(*problems)
    return config


def rehearse(path: str, overrides: Sequence[str]) -> None:
    """Build everything that a configuration describes but its data.

    Raises:
        ConfigError: all that is wrong with it; missing data is not.
    """
    config = configuration.load(path, overrides)
    problems = configuration.check(config, components())
    for build in [] if problems else _parts(config):
        try:
            build()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)


def _parts(config: Section) -> Iterator[Callable[[], Any]]:
    """What builds each part of a configuration that was checked."""
    sections = settings(Configuration, config)
    network = model({**config["Arch"], "pretrained": False})
    epochs = sections.Global.epochs or 1
    yield partial(optimizer, config["Optimizer"], network, epochs=epochs, steps_per_epoch=1)
    for losses in filter(None, (sections.Loss.Train, sections.Loss.Eval)):
        yield partial(loss, losses)
    for metrics in filter(None, (sections.Metric.Train, sections.Metric.Eval)):
        yield partial(metric, metrics)
    for split in filter(None, (config.get("DataLoader") or {}).values()):
        yield partial(transforms, split["dataset"].get("transform_ops") or [])
        yield partial(batch_transforms, split["dataset"].get("batch_transform_ops") or [], class_count(config))
    infer = config.get("Infer") or {}
    yield partial(transforms, infer.get("transforms") or [])
    if infer.get("PostProcess"):
        yield partial(postprocess, infer["PostProcess"], {})
