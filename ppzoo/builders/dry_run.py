"""Whole configurations: read and checked for a task, or rehearsed without their data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import paddle

from ppzoo import config as configuration
from ppzoo import deploy
from ppzoo.builders.components import Section, components
from ppzoo.builders.models import build_model, class_count, inference_arch, try_forward
from ppzoo.builders.parts import (
    build_batch_transforms,
    build_loss,
    build_lr_schedule,
    build_metrics,
    build_optimizer_recipe,
    build_postprocess,
    build_transforms,
    image_shape,
    require_image_shape,
)
from ppzoo.builders.preprocessing import warn_of_preprocessing
from ppzoo.builders.tta_views import tta, views
from ppzoo.config import Configuration, settings
from ppzoo.errors import ConfigError


def read_config(path: str | Mapping[str, Any], overrides: Sequence[str], task: configuration.Task) -> dict[str, Any]:
    """The configuration of a file, or a mapping, with its overrides, checked for `task`.

    Raises:
        ConfigError: all that is wrong with it, files that do not exist included.
    """
    known = components()
    config = configuration.expand_paths(configuration.load(path, overrides, known), known)
    problems = configuration.check(config, known, task)
    problems = problems or [*_mistakes(_parts(config)), *configuration.check_files(config, task)]
    if problems:
        raise ConfigError(*problems)
    return config


def dry_run_config(path: str, overrides: Sequence[str]) -> None:
    """Build what a configuration describes but its data, try it with blank images, and log what may be wrong with it.

    Raises:
        ConfigError: all that is wrong with it; missing data is not.
    """
    known = components()
    config = configuration.expand_paths(configuration.load(path, overrides, known), known)
    problems = configuration.check(config, known) or [*_mistakes(_parts(config)), *_mistakes(_network(config))]
    if problems:
        raise ConfigError(*problems)
    warn_of_preprocessing(config)


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
    """What builds the network with its optimizer and tries it out: seconds of work, where `_parts` take none."""
    built: list[Any] = []
    yield lambda: built.append(build_model(config["Arch"], pretrained=False))
    for network in built:  # nothing where it could not be built
        if settings(Configuration, config).Optimizer is not None:
            yield partial(_optimizer, config, network)
        yield from _blank_images(config, network)


def _optimizer(config: Section, network: paddle.nn.Layer) -> paddle.optimizer.Optimizer:
    return build_optimizer_recipe(config["Optimizer"]).build(network, 0.1)


def _blank_images(config: Section, network: paddle.nn.Layer) -> Iterator[Callable[[], Any]]:
    """What compares the images that the transforms make with `Global.image_shape`, and both with the network."""
    usual, name = settings(Configuration, config).Global.image_shape, inference_arch(config["Arch"])["name"]
    fitting: set[tuple[int, ...]] = set()

    def try_shape(path: str, shape: Sequence[int]) -> None:
        if tuple(shape) not in fitting:
            try_forward(network, paddle.zeros([1, *shape]), name, path)
            fitting.add(tuple(shape))

    def try_transforms(path: str, ops: Sequence[Section], channels: int) -> None:
        made = image_shape(ops, channels, path)
        try_shape(path, [size or default for size, default in zip(made, usual, strict=True)])

    yield partial(try_shape, "Global.image_shape", usual)
    for split, section in (config.get("DataLoader") or {}).items():
        if section is not None:
            images = section["dataset"]
            path, ops = f"DataLoader.{split}.dataset.transform_ops", images.get("transform_ops") or []
            yield partial(try_transforms, path, ops, images.get("channels", 3))
    infer = (config.get("Infer") or {}).get("transforms")
    if infer:
        yield partial(require_image_shape, infer, usual)
        yield partial(try_transforms, "Infer.transforms", infer, 3)


def _parts(config: Section) -> Iterator[Callable[[], Any]]:
    """What builds each part of a configuration that was checked, but the network, so that its values are checked."""
    sections = settings(Configuration, config)
    if sections.Optimizer is not None:
        yield partial(build_optimizer_recipe, config["Optimizer"])
        if sections.Global.epochs is not None:
            rates = {**config["Optimizer"]["lr"], "reference_batch": None}
            yield partial(build_lr_schedule, rates, epochs=sections.Global.epochs, steps_per_epoch=1000)
    for losses in filter(None, (sections.Loss.Train, sections.Loss.Eval)):
        yield partial(build_loss, losses)
    for metrics in filter(None, (sections.Metric.Train, sections.Metric.Eval)):
        yield partial(build_metrics, metrics)
    for name, split in (config.get("DataLoader") or {}).items():
        if split is None:
            continue
        yield partial(build_transforms, split["dataset"].get("transform_ops") or [])
        yield partial(build_batch_transforms, split["dataset"].get("batch_transform_ops") or [], class_count(config))
        if name == "Eval":
            yield partial(
                views,
                split["dataset"].get("transform_ops") or [],
                tta(config),
                f"DataLoader.{name}.dataset.transform_ops",
            )
    infer = config.get("Infer") or {}
    yield partial(build_transforms, infer.get("transforms") or [])
    yield partial(views, infer.get("transforms") or [], tta(config), "Infer.transforms")
    if infer.get("PostProcess"):
        yield partial(build_postprocess, infer["PostProcess"], {})
