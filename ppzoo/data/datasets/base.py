"""The registry of datasets, their protocol, and common checks."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from ppzoo.errors import DataError
from ppzoo.registry import Registry


class Dataset(Protocol):
    """N labeled images.

    Attributes:
        labels: (N,) integers; (N, C) of 0 and 1 (-1: unknown) if an image can have several of C labels.
        classes: names of the classes, if the data contains them.
    """

    labels: np.ndarray
    classes: list[str] | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[bytes | np.ndarray, int | np.ndarray]:
        """Return the image, as the bytes of its file or as HWC uint8 RGB (or gray), and its label.

        If an image can have several labels, its label is a (C,) float32 array, or (2, C) with `label_ratio` of
        `MultiLabelDataset`.

        Raises:
            DataError: the file cannot be read.
        """

    def describe(self, index: int) -> str:
        """Return the path or another description of the sample, for messages."""


class SourceVersion(NamedTuple):
    """Where an image is stored, and what changes when its file is written.

    Attributes:
        path: absolute path of the file.
        offset: position of the image in the file.
        size: of the image in bytes.
        modified_ns, changed_ns: when the content changed last, and when the content or the metadata (such as the
            permissions) changed last, in nanoseconds.
    """

    path: str
    offset: int
    size: int
    modified_ns: int
    changed_ns: int


def file_version(path: str, offset: int = 0, size: int | None = None) -> SourceVersion:
    """Return the version of an image in a file; by default the image is the complete file.

    Raises:
        OSError: the file is missing.
    """
    status = os.stat(path)
    size = status.st_size if size is None else size
    return SourceVersion(os.path.abspath(path), offset, size, status.st_mtime_ns, status.st_ctime_ns)


@runtime_checkable
class FileDataset(Dataset, Protocol):
    """A dataset whose images are in files."""

    def version(self, index: int) -> SourceVersion:
        """Return where an image is stored and when it changed, without reading it.

        Raises:
            OSError: the file is missing.
        """

    def label(self, index: int) -> int | np.ndarray:
        """Return the label of a sample, without reading its image."""


def is_hidden(path: str) -> bool:
    """Whether a part of a relative path begins with a dot, as in `._x.jpg` and `.ipynb_checkpoints/x.jpg`."""
    return any(name.startswith(".") and name not in (".", "..") for name in path.split("/"))


DATASETS: Registry[type] = Registry("dataset")


def check_folder(image_root: str) -> None:
    if not os.path.isdir(image_root or "."):
        raise DataError(f"dataset.image_root: expected a folder of images, got {image_root!r}, which is not a folder")


def renumber_labels(labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Renumber labels from 0 on in ascending order; return the old numbers as class names, and the new labels."""
    numbers, labels = np.unique(labels, return_inverse=True)
    return [str(number) for number in numbers], labels


def check_class_count(count: int, class_num: int | None, subject: str) -> None:
    if class_num is not None and count > class_num:
        raise DataError(f"{subject} {count} classes, but class_num is {class_num}: set Arch.class_num to {count}")
