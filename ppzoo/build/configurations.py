"""Whole configurations: read and checked for a task, or rehearsed without their data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from ppzoo import config as configuration
from ppzoo import deploy
from ppzoo.build.components import Section, components
from ppzoo.build.networks import class_count, model
from ppzoo.build.parts import batch_transforms, loss, lr_schedule, metric, postprocess, recipe, transforms
from ppzoo.build.views import tta, views
from ppzoo.config import Configuration, settings
from ppzoo.errors import ConfigError


def read_config(path: str, overrides: Sequence[str], task: configuration.Task) -> dict[str, Any]:
    """The configuration of a file with its overrides, checked for `task`.

    Raises:
        ConfigError: all that is wrong with it, files that do not exist included.
    """
    config = configuration.load(path, overrides)
    problems = configuration.check(config, components(), task)
    problems = problems or [*_mistakes(_parts(config)), *configuration.check_files(config, task)]
    if problems:
        raise ConfigError(*problems)
    return config


def rehearse(path: str, overrides: Sequence[str]) -> None:
    """Build everything that a configuration describes but its data.

    Raises:
        ConfigError: all that is wrong with it; missing data is not.
    """
    config = configuration.load(path, overrides)
    problems = configuration.check(config, components()) or [*_mistakes(_parts(config)), *_mistakes(_network(config))]
    if problems:
        raise ConfigError(*problems)


def require_export(exported: deploy.Exported) -> None:
    """Refuse an export whose `inference.yml` does not describe transforms and a post-processing that exist.

    Raises:
        ConfigError: all that is wrong with it.
    """
    name, options = deploy.of_settings(exported.settings["PostProcess"])
    steps = exported.settings["PreProcess"]["transform_ops"]
    problems = configuration.check_export(steps, {**options, "name": name}, components())
    if problems:
        raise ConfigError(*(f"{exported.folder / deploy.SETTINGS}: {problem}" for problem in problems))


def _mistakes(builders: Iterable[Callable[[], Any]]) -> list[str]:
    """The problems that building shows; what is logged on the way is said when things are built to be used."""
    problems: list[str] = []
    logging.disable(logging.WARNING)
    try:
        for build in builders:
            try:
                build()
            except ConfigError as error:
                problems += error.problems
    finally:
        logging.disable(logging.NOTSET)
    return problems


def _network(config: Section) -> Iterator[Callable[[], Any]]:
    """What builds the network with its optimizer: seconds of work, where `_parts` take none."""
    yield lambda: recipe(config["Optimizer"]).build(model(config["Arch"], pretrained=False), 0.1)


def _parts(config: Section) -> Iterator[Callable[[], Any]]:
    """What builds each part of a configuration that was checked, but the network, so that its values are checked."""
    sections = settings(Configuration, config)
    if sections.Optimizer is not None:
        yield partial(recipe, config["Optimizer"])
        if sections.Global.epochs is not None:
            rates = {**config["Optimizer"]["lr"], "reference_batch": None}
            yield partial(lr_schedule, rates, epochs=sections.Global.epochs, steps_per_epoch=1000)
    for losses in filter(None, (sections.Loss.Train, sections.Loss.Eval)):
        yield partial(loss, losses)
    for metrics in filter(None, (sections.Metric.Train, sections.Metric.Eval)):
        yield partial(metric, metrics)
    for name, split in (config.get("DataLoader") or {}).items():
        if split is None:
            continue
        yield partial(transforms, split["dataset"].get("transform_ops") or [])
        yield partial(batch_transforms, split["dataset"].get("batch_transform_ops") or [], class_count(config))
        if name == "Eval":
            yield partial(
                views,
                split["dataset"].get("transform_ops") or [],
                tta(config),
                f"DataLoader.{name}.dataset.transform_ops",
            )
    infer = config.get("Infer") or {}
    yield partial(transforms, infer.get("transforms") or [])
    yield partial(views, infer.get("transforms") or [], tta(config), "Infer.transforms")
    if infer.get("PostProcess"):
        yield partial(postprocess, infer["PostProcess"], {})
