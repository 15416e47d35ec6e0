"""Checks of a dataset's classes: classes without images, skipped files, and training images of a single class."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ppzoo import data
from ppzoo.builders.datasets import TRAIN_DATA
from ppzoo.errors import DataError

logger = logging.getLogger("ppzoo")


def log_data(key: str, images: data.Dataset, class_num: int) -> None:
    """Log what `describe_data` yields."""
    for level, text in describe_data(key, images, class_num):
        logger.log(level, text)


def describe_data(key: str, images: data.Dataset, class_num: int) -> Iterator[tuple[int, str]]:
    """Yield log level and text about skipped files and classes without images.

    Args:
        key: path of the dataset in the configuration, for messages.
    """
    skipped = getattr(images, "skipped", None)
    if skipped:
        yield logging.WARNING, f"{key}: {data.describe_skipped(skipped)}"
    if images.labels.ndim == 2:
        return
    present = set(np.unique(images.labels).tolist())
    missing = [index for index in range(class_num) if index not in present]
    if not missing:
        return
    names = list_class_names(images, missing)
    hint = "" if images.classes else _suggest_relabel(key, present)
    level = logging.WARNING if hint else logging.INFO
    have, classes = ("has", "class") if len(missing) == 1 else ("have", "classes")
    counts = f"{len(missing)} of the {class_num} classes {have} no images"
    yield level, f"{key}: {counts}: {classes} {data.format_names(names)}{hint}"


def list_class_names(images: data.Dataset, indices: Iterable[int]) -> list[str | int]:
    """Return the names of the classes with these indices; for a class without a name in the data, its index."""
    names: Sequence[str] = images.classes or ()
    return [names[index] if index < len(names) else index for index in indices]


def _suggest_relabel(key: str, present: set[int]) -> str:
    """Return '; ... set relabel to true' if `present`, the labels in the data, does not start at 0, else ''."""
    if 0 in present:
        return ""
    return f"; labels are {min(present)} to {max(present)}: if they should start at 0, set {key}.relabel to true"


def require_two_classes(images: data.Dataset) -> None:
    """Check that the training images belong to two classes or more.

    Raises:
        DataError: all of them belong to the same class.
    """
    if images.labels.ndim == 2 or images.labels.min() != images.labels.max():
        return
    label = int(images.labels[0])
    name = repr(images.classes[label]) if images.classes else label
    raise DataError(
        f"{TRAIN_DATA}: expected images of two classes or more, got {len(images)} of class {name} only"
        f"{_suggest_subfolder(images)}"
    )


def _suggest_subfolder(images: data.Dataset) -> str:
    """Return '; if its folders ... are the classes, set image_root to ...' if the only class folder has folders."""
    if not (isinstance(images, data.ImageFolder) and len(images.classes) == 1):
        return ""
    root = os.path.join(images.image_root, images.classes[0])
    inner = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    return f"; if its folders ({data.format_names(inner)}) are the classes, set image_root to {root!r}" if inner else ""


def warn_of_imbalance(labels: np.ndarray) -> None:
    """Log a warning if some classes have far more images than others."""
    warning = data.imbalance_warning(np.bincount(labels)) if labels.ndim == 1 else None
    if warning:
        logger.warning(warning)
