"""Read and check configurations for a task, or build everything that they describe without their data."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import paddle

from ppzoo import config as configuration
from ppzoo import data
from ppzoo.builders.class_names import require_class_labels
from ppzoo.builders.class_weights import drop_balanced
from ppzoo.builders.component_factory import (
    build_batch_transforms,
    build_loss,
    build_metrics,
    build_postprocess,
    build_transforms,
    class_count,
    components,
)
from ppzoo.builders.data_loading import build_sampler, image_sizes
from ppzoo.builders.loggers import check_loggers
from ppzoo.builders.models import IMAGE_SHAPE, build_model, try_forward
from ppzoo.builders.optimization import build_lr_schedule, build_recipe
from ppzoo.builders.preprocessing import (
    find_missing_decoding,
    log_ignored_keys,
    measure_image_shape,
    warn_of_image_shape,
    warn_of_preprocessing,
)
from ppzoo.builders.tta_views import enabled_tta, make_views
from ppzoo.config import ComponentSpec, Config, DatasetConfig, OptimizerConfig, SplitConfig
from ppzoo.errors import ConfigError, DataError, count_text, errors_with_key

MANY_IMAGES = 1 << 20  # of a sampler that is built only to check its options
STEPS_PER_EPOCH = 1000  # of a schedule that is built only to check its options


def read_config(source: str | Mapping[str, Any], overrides: Sequence[str], task: configuration.Task | None) -> Config:
    """Return the configuration of a file, or of a mapping with the same keys, with overrides, checked for `task`.

    Args:
        task: None if it is not known yet: sections can then be missing, and files are not checked.

    Raises:
        ConfigError: all mistakes of the first check that finds some: of keys and types, then of values, then of files.
    """
    config = _parse(source, overrides, task)
    problems = _find_problems(_build_parts(config))
    if problems:
        raise ConfigError(*problems)
    if task is not None:
        require_files(config, task)
    return config


def require_files(config: Config, task: configuration.Task) -> None:
    """Check that the files and folders that `task` reads exist.

    Raises:
        ConfigError: all that are missing.
    """
    missing = configuration.check_files(config, task)
    if missing:
        raise ConfigError(*missing)


def dry_run_config(source: str | Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Build everything that a configuration describes except its data, and log warnings about it.

    If the data exists, only the header of a table of labels, or the labels of the first shard, are read.

    Raises:
        ConfigError: all mistakes in keys and types, or if there are none, all other mistakes. Data may be missing.
    """
    config = _parse(source, overrides, "train")
    problems = [*_find_problems(_build_parts(config)), *_find_problems(_build_network(config))]
    problems += [*find_missing_decoding(config), *_find_label_problems(config), *_find_name_problems(config)]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    log_ignored_keys(config)
    warn_of_image_shape(config)
    warn_of_preprocessing(config)


def _parse(source: str | Mapping[str, Any], overrides: Sequence[str], task: configuration.Task | None) -> Config:
    known = components()
    if isinstance(source, str):
        raw = configuration.load(source, overrides, known)
    else:
        raw = configuration.apply_overrides(source, overrides, known)
    return Config.parse(raw, known, task)


def _find_problems(builders: Iterable[Callable[[], Any]]) -> list[str]:
    """Call builders and return their configuration errors.

    Their log messages are suppressed: they appear when the same parts are built for use.
    """
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


def _build_network(config: Config) -> Iterator[Callable[[], Any]]:
    """Yield builders of the network and its optimizer, and trials of the network; they take seconds."""
    built: list[Any] = []
    yield lambda: built.append(build_model(config.Arch, pretrained=False))
    for network in built:  # empty if it could not be built
        if config.Optimizer is not None:
            yield _at("Optimizer", partial(_build_constant_rate_optimizer, config.Optimizer, network))
        yield from _try_image_shapes(config, network)


def _build_constant_rate_optimizer(section: OptimizerConfig, network: paddle.nn.Layer) -> paddle.optimizer.Optimizer:
    return build_recipe(section, key="Optimizer").build(network, 0.1)


def _try_image_shapes(config: Config, network: paddle.nn.Layer) -> Iterator[Callable[[], Any]]:
    """Yield trials of the network with `Global.image_shape` and with the image shapes of the transforms."""
    usual, name = config.Global.image_shape, config.Arch.deployed.name
    network_channels = getattr(network, "image_channels", usual[0])
    accepted: set[tuple[int, ...]] = set()

    def try_shape(path: str, shape: Sequence[int]) -> None:
        if tuple(shape) not in accepted:
            try_forward(network, paddle.zeros([1, *shape]), name, path)
            accepted.add(tuple(shape))

    def try_transforms(path: str, ops: Sequence[ComponentSpec], channels: int) -> None:
        measured = measure_image_shape(ops, channels, path)
        if measured[0] != network_channels:
            expected = f"expected images of {count_text(network_channels, 'channel')} (Arch.in_channels)"
            raise ConfigError(
                f"{path}: {expected}, got {measured[0]}; set DecodeImage.channels, and as many values of"
                " NormalizeImage.mean and std"
            )
        try_shape(path, [size or default for size, default in zip(measured, usual, strict=True)])

    def try_smallest_size(split: SplitConfig) -> None:
        sizes = _training_sizes(split)
        if sizes:
            try_shape("DataLoader.Train.sampler.scales", [network_channels, min(sizes), min(sizes)])

    yield partial(try_shape, IMAGE_SHAPE, usual)
    for key, split in (("Train", config.DataLoader.Train), ("Eval", config.DataLoader.Eval)):
        if split is not None:
            path, channels = f"DataLoader.{key}.dataset.transform_ops", split.dataset.spec.option("channels", 3)
            yield partial(try_transforms, path, split.dataset.transforms, channels)
    if config.DataLoader.Train is not None:
        yield partial(try_smallest_size, config.DataLoader.Train)
    if config.Infer.transforms:
        yield partial(try_transforms, "Infer.transforms", config.Infer.transforms, 3)


def _build_parts(config: Config) -> Iterator[Callable[[], Any]]:
    """Yield builders of everything but network and data; building a part checks the values of its options."""
    yield partial(check_loggers, config.Global)
    if config.Optimizer is not None:
        yield _keyed("Optimizer", partial(build_recipe, config.Optimizer))
        if config.Global.epochs is not None:
            section = replace(config.Optimizer.lr, reference_batch=None)
            schedule = partial(build_lr_schedule, epochs=config.Global.epochs, steps_per_epoch=STEPS_PER_EPOCH)
            yield _keyed("Optimizer.lr", partial(schedule, section))
    for key in ("Train", "Eval"):
        losses, metrics = getattr(config.Loss, key), getattr(config.Metric, key)
        if losses:
            yield _keyed(f"Loss.{key}", partial(build_loss, drop_balanced(losses)))
        if metrics:
            yield _keyed(f"Metric.{key}", partial(build_metrics, metrics))
    tta = enabled_tta(config)
    for key, split in (("Train", config.DataLoader.Train), ("Eval", config.DataLoader.Eval)):
        if split is not None:
            path, ops = f"DataLoader.{key}.dataset", split.dataset.batch_transform_ops or ()
            yield _keyed(f"{path}.transform_ops", partial(build_transforms, split.dataset.transforms))
            yield _at(path, partial(_check_transform_label, split.dataset))
            build = partial(build_batch_transforms, ops, class_count(config.Arch))
            yield _keyed(f"{path}.batch_transform_ops", build)
    if config.DataLoader.Train is not None:
        yield partial(_training_sizes, config.DataLoader.Train)
    if config.DataLoader.Eval is not None:
        sampler = data.SAMPLERS[config.DataLoader.Eval.sampler.spec.name]
        yield _at("DataLoader.Eval.sampler", partial(data.require_evaluation_sampler, sampler))
        ops = config.DataLoader.Eval.dataset.transforms
        yield partial(make_views, ops, tta, "DataLoader.Eval.dataset.transform_ops")
    yield _keyed("Infer.transforms", partial(build_transforms, config.Infer.transforms or ()))
    yield partial(make_views, config.Infer.transforms or (), tta, "Infer.transforms")
    if config.Infer.PostProcess:
        yield _keyed("Infer.PostProcess", partial(build_postprocess, config.Infer.PostProcess, {}))


def _training_sizes(split: SplitConfig) -> list[int]:
    """Build the sampler for a large dataset, and return the image sizes among which it chooses.

    A sampler that needs the labels is not built, and [] is returned.
    """
    if "labels" in inspect.signature(data.SAMPLERS[split.sampler.spec.name]).parameters:
        return []  # without the data, the labels are not known
    return image_sizes(split.dataset, build_sampler(split.sampler, MANY_IMAGES, np.zeros(0), seed=0, training=True))


def _check_transform_label(section: DatasetConfig) -> None:
    """Check that a transform sets the label if the dataset needs that; not if the transforms cannot be built."""
    try:
        transforms = build_transforms(section.transforms).transforms
    except ConfigError:
        return  # reported for transform_ops
    data.check_transform_label(section.spec.name, section.spec.options, transforms)


def _find_label_problems(config: Config) -> list[str]:
    """Return the problems of tables without the columns of the labels, and of shards without the key of the label."""
    problems: list[str] = []
    for key, split in (("Train", config.DataLoader.Train), ("Eval", config.DataLoader.Eval)):
        if split is not None:
            try:
                data.check_label_source(split.dataset.spec.name, split.dataset.spec.options)
            except DataError as error:
                problems.append(f"DataLoader.{key}.dataset: {error}")
    return problems


def _find_name_problems(config: Config) -> list[str]:
    """Return the problem of class names that do not fit the network, unless the training data can have other names."""
    train = config.DataLoader.Train
    if config.Arch.deployed.class_num is None or not (train and data.is_list_without_names(train.dataset.spec.options)):
        return []
    try:
        require_class_labels(config)
    except (ConfigError, DataError) as error:
        return [str(error)]
    return []


def _keyed(key: str, build: Callable[..., Any]) -> Callable[[], Any]:
    """Return a builder whose errors name each component by its path in the section `key`."""
    return _at(key, partial(build, key=key))


def _at(path: str, build: Callable[[], Any]) -> Callable[[], Any]:
    """Return a builder whose errors begin with the path of its section."""

    def build_section() -> Any:
        with errors_with_key(path):
            return build()

    return build_section
