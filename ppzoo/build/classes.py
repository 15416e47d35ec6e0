"""How many classes there are and what they are called, where the configuration does not say it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from ppzoo import config as configuration
from ppzoo import data
from ppzoo.build.components import Section
from ppzoo.build.networks import answering, class_count
from ppzoo.build.parts import dataset
from ppzoo.config import Configuration, InferSection, settings
from ppzoo.errors import ConfigError, DataError
from ppzoo.machine import MAX_CLASSES

logger = logging.getLogger("ppzoo")

LABELS, RESOLVED = "labels.txt", "config.yaml"


def with_classes_of_data(config: Section) -> dict[str, Any]:
    """The configuration with `Arch.class_num`: where it has none, as many as the training data has."""
    if "class_num" in answering(config["Arch"]):
        return dict(config)
    images = dataset(config["DataLoader"]["Train"]["dataset"], class_num=None)
    if images.labels.ndim == 2:
        count, source = images.labels.shape[1], "labels of an image"
    elif images.classes:
        more = ", ..." if len(images.classes) > 3 else ""
        count, source = len(images.classes), f"classes ({', '.join(images.classes[:3])}{more})"
    else:
        count, source = int(images.labels.max()) + 1, "classes, by the highest label"
    if count > MAX_CLASSES:
        raise DataError(
            f"Arch.class_num: the training data would have {count} {source}, more than {MAX_CLASSES}:"
            f" {_of_highest_label(images)}; correct that label, or set dataset.relabel, which numbers labels from 0 on"
        )
    logger.info("Arch.class_num: the training data has %d %s", count, source)
    return _with_class_num(config, count)


def with_classes_of_run(config: Section) -> dict[str, Any]:
    """The configuration with `Arch.class_num`: where it has none, that of the configuration that training left."""
    weights = settings(Configuration, config).Global.pretrained_model
    beside = Path(weights).parent / RESOLVED if weights else None
    if "class_num" in answering(config["Arch"]) or not (beside and os.path.isfile(beside)):
        return dict(config)
    return _with_class_num(config, class_count(configuration.load(beside)))


def class_labels(config: Section) -> dict[int, str]:
    """Class names: those that the configuration gives, or those that training left beside the weights; else none.

    Raises:
        ConfigError: other names than the network has classes.
    """
    chosen = settings(InferSection, config.get("Infer")).PostProcess or {}
    count = class_count(config)
    if chosen.get("label_list"):
        names = chosen["label_list"]
        if len(names) != count:
            raise ConfigError(
                f"Infer.PostProcess.label_list: expected {count} names, one a class (Arch.class_num),"
                f" received {len(names)}"
            )
        return dict(enumerate(names))
    file = chosen.get("class_id_map_file")
    if not file:
        return _labels_of_run(config)
    labels = data.read_labels(file, chosen.get("delimiter") or " ")
    if max(labels) < count:
        return labels
    of_run = _labels_of_run(config)
    if not of_run:
        raise ConfigError(
            f"Infer.PostProcess.class_id_map_file: expected names of {count} classes (Arch.class_num), received"
            f" {file!r} with those of {max(labels) + 1}; name another file, or set it to null"
        )
    logger.info("%s names %d classes, not %d: the names are those that training left", file, max(labels) + 1, count)
    return of_run


def _of_highest_label(images: data.Dataset) -> str:
    if images.labels.ndim == 2:
        return "an image has one value for each"
    return f"label {images.labels.max()} of {images.describe(int(images.labels.argmax()))}"


def label_list(config: Section) -> list[str]:
    """The name of each class, in order; a class without one is called by its index."""
    labels = class_labels(config)
    return [labels.get(index, str(index)) for index in range(class_count(config))]


def _labels_of_run(config: Section) -> dict[int, str]:
    weights = settings(Configuration, config).Global.pretrained_model
    beside = Path(weights).parent / LABELS if weights else None
    return data.read_labels(beside) if beside and os.path.isfile(beside) else {}


def _with_class_num(config: Section, count: int) -> dict[str, Any]:
    return {**config, "Arch": {**config["Arch"], "class_num": count}}
