"""Losses, metrics, optimizers, schedules, transforms and loaders from their sections."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo import config as configuration
from ppzoo import data, deploy, engine, losses, metrics, optim
from ppzoo.builders.components import Section, make, named_options
from ppzoo.config import (
    DatasetSection,
    LrSection,
    OptimizerSection,
    PostProcessSection,
    SamplerSection,
    own_options,
    settings,
)
from ppzoo.data.loader import Batch, Loader
from ppzoo.errors import ConfigError, DataError
from ppzoo.files import read_plain_file

logger = logging.getLogger("ppzoo")

TRIAL = 8  # images


def build_loss(cfg: Sequence[Section]) -> losses.CombinedLoss:
    """The weighted sum of a list such as `[{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]`.

    Called with (output, label) it answers every loss by name, and their sum as "loss".
    """
    terms = []
    for name, options in named_options(cfg):
        own = dict(options or {})
        weight = own.pop("weight", 1.0)
        terms.append((make(losses.LOSSES, name, own), weight))
    return losses.CombinedLoss(terms)


def build_metrics(cfg: Sequence[Section]) -> metrics.MetricList:
    """The metrics of a list such as `[{"TopkAcc": {"topk": [1, 5]}}]`."""
    return metrics.MetricList([make(metrics.METRICS, name, options) for name, options in named_options(cfg)])


def build_lr_schedule(
    cfg: Section, *, epochs: int, steps_per_epoch: int, total_batch: int | None = None
) -> optim.Schedule:
    """The schedule of the section `Optimizer.lr`, to be stepped once a training step.

    Args:
        total_batch: images of a step on all processes, by which `reference_batch` scales the rates.
    """
    options = own_options(LrSection, cfg)
    shared = settings(LrSection, cfg)
    if shared.reference_batch is not None:
        options = _scale_rates(options, shared.reference_batch, total_batch)
    return make(optim.SCHEDULES, shared.name, options, epochs=epochs, steps_per_epoch=steps_per_epoch)


def _scale_rates(options: dict[str, Any], reference: int, total_batch: int | None) -> dict[str, Any]:
    """The options of a schedule for another batch: linear scaling, Goyal et al., arXiv:1706.02677, section 2.1.

    Only the rates at the top are scaled; where the warm-up starts and where a decay ends stays.
    """
    if total_batch is None:
        raise ConfigError("Optimizer.lr.reference_batch: expected a known batch to scale for; give total_batch")
    scaled = dict(options)
    for key in options.keys() & {"learning_rate", "base_learning_rate", "max_learning_rate", "values"}:
        value, factor = options[key], total_batch / reference
        scaled[key] = [rate * factor for rate in value] if isinstance(value, list) else value and value * factor
        logger.info(
            "Optimizer.lr: %s %s is for batches of %d; for batches of %d it becomes %s",
            *(key, value, reference, total_batch, scaled[key]),
        )
    return scaled


def build_optimizer_recipe(cfg: Section) -> optim.Recipe:
    """The section `Optimizer`, checked: it makes the optimizer once a model and a schedule are there."""
    options = own_options(OptimizerSection, cfg)
    if cfg.get("regularizer") is not None:
        options["regularizer"] = cfg["regularizer"]
    return make(optim.OPTIMIZERS, cfg["name"], options)


def build_optimizer(
    cfg: Section, model: paddle.nn.Layer, *, epochs: int, steps_per_epoch: int, total_batch: int | None = None
) -> tuple[paddle.optimizer.Optimizer, optim.Schedule]:
    """The optimizer of the section `Optimizer` over a model's parameters, and its schedule (as in `lr_schedule`)."""
    schedule = build_lr_schedule(cfg["lr"], epochs=epochs, steps_per_epoch=steps_per_epoch, total_batch=total_batch)
    return build_optimizer_recipe(cfg).build(model, schedule), schedule


# --- data -----------------------------------------------------------------------------------------------------------


def build_transforms(ops: Sequence[Section]) -> data.Compose:
    """The transforms of a list such as `[{"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}]`.

    The result takes an H x W x C uint8 RGB image, or encoded bytes where the list begins with `DecodeImage`.
    """
    return data.Compose([make(data.TRANSFORMS, name, options) for name, options in named_options(ops)])


BLANK_SIZES = (1024, 1280), (1280, 1024)  # pixels; larger than what the transforms make


def image_shape(ops: Sequence[Section], channels: int, path: str) -> list[int | None]:
    """Channels, height and width of what the transforms make of images of `channels` channels.

    A height or width that depends on the image is None.

    Args:
        path: where `ops` are in the configuration, for messages.

    Raises:
        ConfigError: they cannot take images.
    """
    apply, shapes = build_transforms(ops), []
    for size in BLANK_SIZES:
        try:
            made = apply(np.zeros((*size, channels), np.uint8), np.random.default_rng(0))
        except DataError as error:
            raise ConfigError(f"{path}: {error}") from error
        shapes.append(made.shape if apply.channel_first else (made.shape[2], *made.shape[:2]))
    return [one if one == other else None for one, other in zip(*shapes, strict=True)]


def require_image_shape(ops: Sequence[Section], expected: Sequence[int]) -> None:
    """
    Raises:
        ConfigError: `Infer.transforms` make images of another shape than that of the exported network.
    """
    made = image_shape(ops, channels=3, path="Infer.transforms")
    if list(made) != list(expected):
        received = ", ".join("any" if size is None else str(size) for size in made)
        raise ConfigError(f"Infer.transforms: expected images of Global.image_shape {list(expected)}, got [{received}]")


def build_dataset(
    cfg: Section, class_num: int | None, classes: Sequence[str] | None = None, *, training: bool = True
) -> data.Dataset:
    """The data set of the section `DataLoader.*.dataset`; without `class_num` its labels are not checked.

    Args:
        classes: names of the network's classes, by which those of the data are numbered where it has names.
        training: without `classes`, data with names numbers them itself; to evaluate it must have all classes then, or
            be a list with numbers.

    Raises:
        DataError: what the dataset raises; or a class that is unknown.
    """
    build = partial(make, data.DATASETS, settings(DatasetSection, cfg).name, own_options(DatasetSection, cfg))
    if training and classes is None:
        return build(class_num=class_num)
    images: data.Dataset = build(class_num=None)
    if images.classes is None or (classes is None and getattr(images, "is_numbered", False)):
        numbers = images.labels
        fits = numbers.shape[1] == class_num if numbers.ndim == 2 else numbers.max() < (class_num or np.inf)
        return images if fits else build(class_num=class_num)
    if classes is not None:
        fix = "add it to Global.class_names or remove that key" if training else "rename or remove it, or train with it"
        return data.match_classes(images, classes, fix)
    if class_num is not None and len(images.classes) != class_num:
        raise DataError(
            f"expected images of all {class_num} classes, since the names of the training's classes are not known,"
            f" got {len(images.classes)} ({data.listing(images.classes)}): put the labels.txt of the training"
            " beside the weights, or set Global.class_names"
        )
    return images


def build_loader(
    cfg: Section,
    *,
    class_num: int | None,
    seed: int,
    training: bool,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
    classes: Sequence[str] | None = None,
) -> Loader:
    """The batches of the section `DataLoader.Train` or `DataLoader.Eval` that this one of `processes` gets.

    Args:
        classes: as for `dataset`.
    """
    shared = settings(DatasetSection, cfg["dataset"])
    try:
        images = build_dataset(cfg["dataset"], class_num, classes, training=training)
    except DataError as error:
        raise DataError(f"DataLoader.{'Train' if training else 'Eval'}: {error}") from error
    samples = data.Samples(images, build_transforms(shared.transform_ops or []), seed)
    sampling = settings(SamplerSection, cfg["sampler"])
    options = {key: value for key, value in cfg["sampler"].items() if key != "name"}
    facts = {"length": len(samples), "labels": images.labels, "seed": seed, "pad": training}
    facts |= {"rank": processes.rank, "world_size": processes.size}
    wanted = inspect.signature(data.SAMPLERS[sampling.name]).parameters
    known = {name: fact for name, fact in facts.items() if name in wanted}
    sampler: data.Sampler = make(data.SAMPLERS, sampling.name, options, **known)
    reading = settings(configuration.LoaderSection, cfg.get("loader"))
    return Loader(
        samples,
        sampler,
        num_workers=reading.num_workers,
        use_shared_memory=reading.use_shared_memory,
        batch_transforms=build_batch_transforms(shared.batch_transform_ops or [], class_num),
        on_error=shared.on_error or ("skip" if training else "raise"),
        max_bad_fraction=shared.max_bad_fraction,
        pool=processes.all_gather_lists if training and processes.size > 1 else list,
    )


def build_batch_transforms(ops: Sequence[Section], class_num: int | None) -> list[data.BatchTransform]:
    """The batch transforms of a list such as `[{"MixupOperator": {"alpha": 0.2}}]`."""
    return [make(data.BATCH_TRANSFORMS, name, options, class_num=class_num) for name, options in named_options(ops)]


def read_image(path: Path, preprocess: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """An image file as `preprocess`, transforms or the beginning of them, makes it.

    Raises:
        DataError: the file cannot be read or is no image.
    """
    try:
        return preprocess(read_plain_file(path))
    except OSError as error:
        raise DataError(f"{path}: expected an image, got: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def first_samples(batches: Loader) -> Batch:
    """The first few samples of a loader as a batch, read in this process."""
    few = copy.copy(batches)
    few.num_workers, few.bad, few.max_bad_fraction, few.pool = 0, {}, 1.0, list
    few.sampler = data.DistributedBatchSampler(batch_size=TRIAL, length=len(batches.samples))
    batch = next((batch for batch in few.epoch(0) if batch is not None), None)
    if batch is None:
        raise DataError(f"none of {len(batches.samples)} images can be read; the last: {list(few.bad.values())[-1]}")
    return batch


def build_postprocess(cfg: Section, labels: Mapping[int, str]) -> Callable[[np.ndarray], list[dict[str, Any]]]:
    """What makes answers of probabilities, from the section `Infer.PostProcess`."""
    options = own_options(PostProcessSection, cfg)
    return make(deploy.POSTPROCESSES, cfg["name"], options, labels=labels)
