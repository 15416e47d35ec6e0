"""Build the datasets of a configuration, with their classes numbered as those of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ppzoo import data
from ppzoo.builders.component_factory import make
from ppzoo.config import DatasetConfig
from ppzoo.errors import DataError, count_text, errors_with_key

TRAIN_DATA, EVAL_DATA = "DataLoader.Train.dataset", "DataLoader.Eval.dataset"  # keys


def build_dataset(
    section: DatasetConfig, class_num: int | None, classes: Sequence[str] | None = None, *, training: bool = True
) -> data.Dataset:
    """Build the dataset of a section `dataset`; its labels are checked against `class_num`, unless that is None.

    Args:
        classes: names of the network's classes; if the classes of the data have names, their numbers are the positions
            of these names in `classes`.
        training: whether this is training data. Without `classes`, classes with names are numbered in their order in
            the data; evaluation data must then contain all classes, or be a list file with numbers.

    Raises:
        DataError: the dataset cannot be read, or contains an unknown class.
    """
    key = TRAIN_DATA if training else EVAL_DATA
    with errors_with_key(key):
        return _build_dataset(partial(make, data.DATASETS, section.spec, key=key), class_num, classes, training)


def _build_dataset(
    build: Callable[..., Any], class_num: int | None, classes: Sequence[str] | None, training: bool
) -> data.Dataset:
    if training and classes is None:
        return build(class_num=class_num)
    images: data.Dataset = build(class_num=None)
    if images.classes is None or (classes is None and getattr(images, "is_numbered", False)):
        numbers = images.labels
        fits = numbers.shape[1] == class_num if numbers.ndim == 2 else numbers.max() < (class_num or np.inf)
        return images if fits else build(class_num=class_num)
    if classes is not None:
        fix = (
            "add {it} to Global.class_names or remove that key"
            if training
            else "rename or remove {it}, or train with {it}"
        )
        return data.match_classes(images, classes, fix)
    if class_num is not None and len(images.classes) != class_num:
        raise DataError(
            f"cannot match {count_text(len(images.classes), 'class name')} ({data.format_names(images.classes)}) with"
            f" the {class_num} classes of the training data, whose names are unknown: set Global.class_names to their"
            " names in the order of the class indices, or copy the training run's labels.txt next to the weights"
        )
    return images
