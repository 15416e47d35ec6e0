"""Test-time augmentation from the section `TTA`: the views of an image, as lists of transforms."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any

from ppzoo import data, deploy, engine
from ppzoo.builders.components import Section
from ppzoo.builders.models import class_count
from ppzoo.builders.parts import build_loader, build_loss, build_metrics, first_samples
from ppzoo.config import Configuration, TtaSection, settings
from ppzoo.errors import ConfigError

logger = logging.getLogger("ppzoo")

Ops = Sequence[Section]
SIZES = {"size", "resize_short"}


def tta(config: Section) -> TtaSection | None:
    """What the section `TTA` asks for; None where it is missing or asks for nothing."""
    section = settings(Configuration, config).TTA
    return section if section and (section.flip or section.ten_crop or section.sizes) else None


def views(ops: Ops, section: TtaSection | None, path: str) -> list[Ops]:
    """The lists of transforms that make the views of an image, mirror images left out.

    Args:
        path: where `ops` are in the configuration, for messages.

    Raises:
        ConfigError: the views that are asked for cannot be made by changing `ops`.
    """
    if section is None:
        return [ops]
    sized = [_resized(ops, size, path) for size in section.sizes] if section.sizes else [ops]
    if not section.ten_crop:
        return sized
    if not any("CropImage" in op for op in ops):
        raise ConfigError(f"TTA.ten_crop: expected CropImage among {path}, in whose place the corners are cut out")
    return [view for one in sized for view in (one, *(_cornered(one, corner) for corner in data.CORNERS))]


def mirrors(section: TtaSection | None) -> bool:
    """Whether each view is looked at mirrored, too."""
    return section is not None and (section.flip or section.ten_crop)


def describe_views(section: TtaSection, count: int) -> str:
    """What the log says of `count` views, mirror images left out."""
    parts = ["ten-crop"] if section.ten_crop else ["flip"] if section.flip else []
    parts += [f"sizes {', '.join(map(str, section.sizes))}"] if section.sizes else []
    return f"{count * (2 if mirrors(section) else 1)} views of each image ({', '.join(parts)})"


def evaluate_views(
    config: Section, network: Any, section: TtaSection, processes: engine.ProcessGroup
) -> dict[str, float]:
    """The figures of averaged probabilities on the data of `DataLoader.Eval`."""
    sections = settings(Configuration, config)
    split = copy.deepcopy(config["DataLoader"]["Eval"])
    lists = views(split["dataset"].get("transform_ops") or [], section, "DataLoader.Eval.dataset.transform_ops")
    reading = dict(split.get("loader") or {})
    reading["num_workers"] = math.ceil(reading.get("num_workers", 0) / len(lists))
    loaders = [
        build_loader(
            {**split, "dataset": {**split["dataset"], "transform_ops": ops}, "loader": reading},
            class_num=class_count(config),
            seed=0,
            training=False,
            processes=processes,
            classes=sections.Global.class_names,
        )
        for ops in lists
    ]
    for one in loaders:
        deploy.export_if_worthwhile(network, len(one.samples), first_samples(one).images)
    logger.info("with test-time augmentation: %s", describe_views(section, len(lists)))
    multi_label = sections.Global.use_multilabel
    average = engine.TtaModel(network, mirror=mirrors(section), multi_label=multi_label)
    batches = engine.zip_views(one.epoch(0) for one in loaders)
    criterion, figures = build_loss(sections.Loss.Eval or []), build_metrics(sections.Metric.Eval or [])
    return engine.evaluate(average, batches, criterion, figures, processes, loaders[0].samples.dataset.describe)


def _resized(ops: Ops, size: int, path: str) -> Ops:
    """`ops` for images of `size` pixels: the last crop or resize makes them, what comes before grows in proportion."""
    last = next((op["CropImage"] for op in ops if "CropImage" in op), None)
    last = last or next((op["ResizeImage"] for op in ops if "size" in (op.get("ResizeImage") or {})), None)
    if last is None:
        raise ConfigError(f"TTA.sizes: expected CropImage, or ResizeImage with size, among {path}")
    native = last["size"] if isinstance(last["size"], int) else min(last["size"])
    return [_scaled(op, size / native) for op in ops]


def _scaled(op: Section, factor: float) -> Section:
    ((name, options),) = op.items()
    if name not in ("CropImage", "ResizeImage"):
        return op
    return {name: {key: _times(value, factor) if key in SIZES else value for key, value in options.items()}}


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, list):
        return [_times(item, factor) for item in value]
    return value and round(value * factor)


def _cornered(ops: Ops, corner: str) -> Ops:
    return [
        {"CropCorner": {"size": op["CropImage"]["size"], "corner": corner}} if "CropImage" in op else op for op in ops
    ]
