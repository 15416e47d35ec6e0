"""The table of datasets, what a dataset is, and what all of them check."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np

from ppzoo.errors import DataError
from ppzoo.registry import Registry


class Dataset(Protocol):
    """N labeled images.

    Attributes:
        labels: (N,) integers, or (N, C) of 0 and 1 (-1: unknown) where an image may have several of C labels.
        classes: names of the classes, where the data tells them.
    """

    labels: np.ndarray
    classes: list[str] | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[bytes | np.ndarray, int | np.ndarray]:
        """The image, either the bytes of its file or HWC uint8 RGB (or gray), and its label.

        Where an image may have several, the label is an array of C float32.

        Raises:
            DataError: the file cannot be read.
        """

    def describe(self, index: int) -> str:
        """Where the sample comes from, for messages."""


def is_hidden(path: str) -> bool:
    """Whether a name on a relative path begins with a dot, as in `._x.jpg` and `.ipynb_checkpoints/x.jpg`."""
    return any(name.startswith(".") and name not in (".", "..") for name in path.split("/"))


DATASETS: Registry[type] = Registry("dataset")


def check_folder(image_root: str) -> None:
    if not os.path.isdir(image_root or "."):
        raise DataError(f"expected a folder of images, {image_root!r} is not one: correct dataset.image_root")


def renumber_labels(labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The numbers that occur, which become names of classes, and the labels numbered from 0 on in ascending order."""
    numbers, labels = np.unique(labels, return_inverse=True)
    return [str(number) for number in numbers], labels


def check_class_count(count: int, class_num: int | None, subject: str) -> None:
    if class_num is not None and count > class_num:
        raise DataError(f"{subject} {count} classes, but class_num is {class_num}: set Arch.class_num to {count}")
