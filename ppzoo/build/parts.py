"""Losses, metrics, optimizers, schedules, transforms and loaders from their sections."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo import config as configuration
from ppzoo import data, deploy, losses, metrics, optim
from ppzoo.build.components import Section, items, make
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
from ppzoo.errors import DataError

TRIAL = 8  # images


def loss(cfg: Sequence[Section]) -> losses.CombinedLoss:
    """The weighted sum of a list such as `[{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]`.

    Called with (output, label) it answers every loss by name, and their sum as "loss".
    """
    terms = []
    for name, options in items(cfg):
        own = dict(options or {})
        weight = own.pop("weight", 1.0)
        terms.append((make(losses.LOSSES, name, own), weight))
    return losses.CombinedLoss(terms)


def metric(cfg: Sequence[Section]) -> metrics.MetricList:
    """The metrics of a list such as `[{"TopkAcc": {"topk": [1, 5]}}]`."""
    return metrics.MetricList([make(metrics.METRICS, name, options) for name, options in items(cfg)])


def lr_schedule(cfg: Section, *, epochs: int, steps_per_epoch: int) -> optim.Schedule:
    """The schedule of the section `Optimizer.lr`, to be stepped once a training step."""
    options = own_options(LrSection, cfg)
    name = settings(LrSection, cfg).name
    return make(optim.SCHEDULES, name, options, epochs=epochs, steps_per_epoch=steps_per_epoch)


def optimizer(
    cfg: Section, model: paddle.nn.Layer, *, epochs: int, steps_per_epoch: int
) -> tuple[paddle.optimizer.Optimizer, optim.Schedule]:
    """The optimizer of the section `Optimizer` over a model's parameters, and its schedule."""
    schedule = lr_schedule(cfg["lr"], epochs=epochs, steps_per_epoch=steps_per_epoch)
    options = own_options(OptimizerSection, cfg)
    if cfg.get("regularizer") is not None:
        options["regularizer"] = cfg["regularizer"]
    return make(optim.OPTIMIZERS, cfg["name"], options).build(model, schedule), schedule


# --- data -----------------------------------------------------------------------------------------------------------


def transforms(ops: Sequence[Section]) -> data.Compose:
    """The transforms of a list such as `[{"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}]`.

    The result takes an H x W x C uint8 RGB image, or encoded bytes where the list begins with `DecodeImage`.
    """
    return data.Compose([make(data.TRANSFORMS, name, options) for name, options in items(ops)])


def dataset(cfg: Section, class_num: int | None) -> data.Dataset:
    """The data set of the section `DataLoader.*.dataset`; without `class_num` its labels are not checked."""
    name = settings(DatasetSection, cfg).name
    return make(data.DATASETS, name, own_options(DatasetSection, cfg), class_num=class_num)


def loader(cfg: Section, *, class_num: int | None, seed: int, training: bool) -> Loader:
    """The batches of the section `DataLoader.Train` or `DataLoader.Eval`."""
    shared = settings(DatasetSection, cfg["dataset"])
    images = dataset(cfg["dataset"], class_num)
    samples = data.Samples(images, transforms(shared.transform_ops or []), seed)
    sampling = settings(SamplerSection, cfg["sampler"])
    options = {key: value for key, value in cfg["sampler"].items() if key != "name"}
    facts = {"length": len(samples), "labels": images.labels, "seed": seed, "pad": training}
    wanted = inspect.signature(data.SAMPLERS[sampling.name]).parameters
    known = {name: fact for name, fact in facts.items() if name in wanted}
    sampler: data.Sampler = make(data.SAMPLERS, sampling.name, options, **known)
    reading = settings(configuration.LoaderSection, cfg.get("loader"))
    return Loader(
        samples,
        sampler,
        num_workers=reading.num_workers,
        use_shared_memory=reading.use_shared_memory,
        batch_transforms=batch_transforms(shared.batch_transform_ops or [], class_num),
        on_error=shared.on_error or ("skip" if training else "raise"),
        max_bad_fraction=shared.max_bad_fraction,
    )


def batch_transforms(ops: Sequence[Section], class_num: int | None) -> list[data.BatchTransform]:
    """The batch transforms of a list such as `[{"MixupOperator": {"alpha": 0.2}}]`."""
    return [make(data.BATCH_TRANSFORMS, name, options, class_num=class_num) for name, options in items(ops)]


def read_image(path: Path, preprocess: data.Compose) -> np.ndarray:
    """An image file as the network wants it.

    Raises:
        DataError: the file cannot be read or is no image.
    """
    try:
        return preprocess(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: expected an image, received: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def trial_batch(batches: Loader) -> Batch:
    """The first few samples of a loader as a batch, read in this process."""
    few = copy.copy(batches)
    few.num_workers, few.bad, few.max_bad_fraction = 0, {}, 1.0
    few.sampler = data.DistributedBatchSampler(batch_size=TRIAL, length=len(batches.samples))
    return next(few.epoch(0))


def postprocess(cfg: Section, labels: Mapping[int, str]) -> Callable[[np.ndarray], list[dict[str, Any]]]:
    """What makes answers of probabilities, from the section `Infer.PostProcess`."""
    options = own_options(PostProcessSection, cfg)
    return make(deploy.POSTPROCESSES, cfg["name"], options, labels=labels)
