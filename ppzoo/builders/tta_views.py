"""Test-time augmentation: the views of an image as lists of transforms, and evaluation over views."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from ppzoo import data, deploy, engine
from ppzoo.builders.component_factory import build_loss, build_metrics, class_count
from ppzoo.builders.data_loading import build_loader, read_first_batch
from ppzoo.builders.models import TTA_SIZES, try_forward
from ppzoo.config import ComponentSpec, Config, SplitConfig, TtaConfig
from ppzoo.errors import ConfigError
from ppzoo.progress import Progress

logger = logging.getLogger("ppzoo")

Ops = Sequence[ComponentSpec]
SIZE_OPTIONS = {"size", "resize_short"}


def enabled_tta(config: Config) -> TtaConfig | None:
    """Return the section `TTA`; None if it is missing, or sets none of `flip`, `ten_crop` and `sizes`."""
    return config.TTA if config.TTA and config.TTA.is_enabled else None


def make_views(ops: Ops, section: TtaConfig | None, path: str) -> list[Ops]:
    """Return the lists of transforms that make the views of an image, without mirror images.

    Args:
        path: key of `ops` in the configuration, for messages.

    Raises:
        ConfigError: the views cannot be made by changing `ops`.
    """
    if section is None:
        return [ops]
    resized = [_resize(ops, size, path) for size in section.sizes] if section.sizes else [ops]
    if not section.ten_crop:
        return resized
    if not any(spec.name == "CropImage" for spec in ops):
        raise ConfigError(f"TTA.ten_crop: expected a CropImage in {path}, from which it makes the crops, got none")
    return [view for one in resized for view in (one, *(_crop_corner(one, corner) for corner in data.CORNERS))]


def describe_views(section: TtaConfig, count: int) -> str:
    """Return text such as "4 views of each image (flip, sizes 224, 256)".

    Args:
        count: number of views without mirror images, which double it.
    """
    parts = ["ten-crop"] if section.ten_crop else ["flip"] if section.flip else []
    parts += [f"sizes {', '.join(map(str, section.sizes))}"] if section.sizes else []
    return f"{count * (2 if section.mirrors else 1)} views of each image ({', '.join(parts)})"


def evaluate_views(
    config: Config, split: SplitConfig, network: Any, section: TtaConfig, processes: engine.ProcessGroup
) -> dict[str, float]:
    """Return the metrics of the mean probabilities over views, on the data of `DataLoader.Eval`.

    Raises:
        ConfigError: the network cannot take images of one of `TTA.sizes`.
    """
    lists = make_views(split.dataset.transforms, section, "DataLoader.Eval.dataset.transform_ops")
    workers = math.ceil(split.loader.num_workers / len(lists))
    loaders = [
        build_loader(
            replace(
                split,
                dataset=replace(split.dataset, transform_ops=tuple(ops)),
                loader=replace(split.loader, num_workers=workers),
            ),
            class_num=class_count(config.Arch),
            seed=0,
            training=False,
            processes=processes,
            classes=config.Global.class_names,
        )
        for ops in lists
    ]
    for loader in loaders:
        first = read_first_batch(loader).images
        if section.sizes:
            try_forward(network, first, config.Arch.deployed.name, TTA_SIZES)
        deploy.export_if_worthwhile(network, len(loader.samples), first)
    logger.info("with test-time augmentation: %s", describe_views(section, len(lists)))
    model = engine.TtaModel(network, mirror=section.mirrors, multi_label=config.Global.use_multilabel)
    loss = build_loss(config.Loss.Eval or (), network=config.Arch.deployed_name)
    metrics = build_metrics(config.Metric.Eval or (), network=config.Arch.deployed_name)
    images = len(loaders[0].samples) // processes.size
    with Progress(images, "evaluating with test-time augmentation") as progress, ExitStack() as stack:
        epochs = [stack.enter_context(closing(loader.epoch(0))) for loader in loaders]
        batches = progress.track(engine.zip_views(epochs), lambda batch: 0 if batch is None else len(batch.labels))
        return engine.evaluate(model, batches, loss, metrics, processes, loaders[0].samples.dataset.describe)


def _resize(ops: Ops, size: int, path: str) -> Ops:
    """Return transforms for images of `size` pixels: the sizes of all crops and resizes are scaled in proportion."""
    usual = next((spec.options["size"] for spec in ops if spec.name == "CropImage"), None)
    usual = usual or next((spec.options["size"] for spec in ops if _has_size(spec)), None)
    if usual is None:
        raise ConfigError(f"TTA.sizes: expected CropImage, or ResizeImage with size, in {path}, got neither")
    factor = size / (usual if isinstance(usual, int) else min(usual))
    return [_scale_sizes(spec, factor) for spec in ops]


def _has_size(spec: ComponentSpec) -> bool:
    return spec.name == "ResizeImage" and bool(spec.option("size"))


def _scale_sizes(spec: ComponentSpec, factor: float) -> ComponentSpec:
    if spec.name not in ("CropImage", "ResizeImage"):
        return spec
    scaled = {key: _multiply_size(value, factor) for key, value in spec.options.items() if key in SIZE_OPTIONS}
    return replace(spec, options={**spec.options, **scaled})


def _multiply_size(value: Any, factor: float) -> Any:
    if isinstance(value, list):
        return [_multiply_size(item, factor) for item in value]
    return value and round(value * factor)


def _crop_corner(ops: Ops, corner: str) -> Ops:
    return [
        ComponentSpec("CropCorner", {"size": spec.options["size"], "corner": corner})
        if spec.name == "CropImage"
        else spec
        for spec in ops
    ]
