"""Where samples come from: each dataset answers an index with an encoded or decoded image and its label.

Constructors check everything that can be checked without reading every image, so that a mistake is known before
training starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ppzoo.data.idx import read_idx
from ppzoo.data.index import PathIndex, index_paths, read_list
from ppzoo.errors import ConfigError, DataError
from ppzoo.registry import Registry

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SHIPPED_FASHION_MNIST = Path(__file__).parent / "fashion_mnist_mini"
FASHION_CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


class Dataset(Protocol):
    """N labelled images.

    Attributes:
        labels: (N,) integers.
        classes: names of the classes, where the data tells them.
    """

    labels: np.ndarray
    classes: list[str] | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[bytes | np.ndarray, int]:
        """The image, either the bytes of its file or HWC uint8 RGB (or grey), and its label.

        Raises:
            DataError: the file cannot be read.
        """

    def describe(self, index: int) -> str:
        """Where the sample comes from, for messages."""


DATASETS: Registry[type] = Registry("dataset")


class ImageFiles:
    """Datasets of image files below a folder, `index` holding their paths; `origin` says where a path comes from."""

    image_root: str
    index: PathIndex
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        path = self.describe(index)
        try:
            return Path(path).read_bytes(), int(self.labels[index])
        except OSError as error:
            raise DataError(
                f"cannot read the image {path!r} ({error.strerror}; {self.origin(index)}): "
                "restore the file or correct dataset.image_root"
            ) from error

    def describe(self, index: int) -> str:
        return os.path.join(self.image_root, self.index.path(index))

    def origin(self, index: int) -> str:
        raise NotImplementedError


@DATASETS.register
class ImageNetDataset(ImageFiles):
    """Images below a folder, named with their labels in a list file (PaddleClas's format, `ppzoo.data.index`).

    Whether every image exists is not looked up, for there may be millions.

    Args:
        image_root: folder that the paths of the list are relative to.
        cls_label_path: the list file.
        class_num: number of classes; None: not checked.
        delimiter: character before the label; None: space or tab.
        relabel: number the labels that occur from 0 on, in ascending order.

    Raises:
        DataError: the folder or the list is missing, or a line of the list is wrong.
    """

    def __init__(
        self,
        *,
        image_root: str,
        cls_label_path: str,
        class_num: int | None = None,
        delimiter: str | None = None,
        relabel: bool = False,
    ) -> None:
        _check_folder(image_root)
        self.image_root, self.list_file = image_root, cls_label_path
        self.index = read_list(cls_label_path, class_num=None if relabel else class_num, delimiter=delimiter)
        self.labels = self.index.labels
        self.classes: list[str] | None = None
        if relabel:
            numbers, self.labels = np.unique(self.labels, return_inverse=True)
            _check_class_count(len(numbers), class_num, f"the list file {cls_label_path!r} has")

    def origin(self, index: int) -> str:
        return f"{self.list_file}, line {self.index.line(index)}"


@DATASETS.register
class ImageFolder(ImageFiles):
    """One folder a class, with its images in it at any depth; classes are numbered in sorted order of their names.

    Names that start with a dot are passed over, other files than images too (`IMAGE_SUFFIXES`, in either case).
    Symbolic links to files and to class folders are followed, links to folders inside them are not.

    Args:
        image_root: folder of the class folders.
        class_num: number of classes of the network; may be larger than the number of folders. None: not checked.

    Raises:
        DataError: no class folder, too many of them, or one without images.
    """

    def __init__(self, *, image_root: str, class_num: int | None = None) -> None:
        _check_folder(image_root)
        self.image_root = image_root
        with os.scandir(image_root) as entries:
            self.classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        if not self.classes:
            raise DataError(f"{image_root!r} has no class folders: expected {image_root}/CLASS/IMAGE files")
        _check_class_count(len(self.classes), class_num, f"{image_root!r} has")
        self.index = index_paths(self._images())
        self.labels = self.index.labels

    def _images(self) -> Iterator[tuple[str, int]]:
        for label, name in enumerate(self.classes):
            found = False
            for folder, folders, files in os.walk(os.path.join(self.image_root, name)):
                folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
                for file in sorted(files):
                    if file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith("."):
                        found = True
                        yield os.path.relpath(os.path.join(folder, file), self.image_root), label
            if not found:
                raise DataError(
                    f"the class folder {os.path.join(self.image_root, name)!r} has no images "
                    f"({', '.join(IMAGE_SUFFIXES)}): add some or remove the folder"
                )

    def origin(self, index: int) -> str:
        return f"found in {self.image_root} when the dataset was built"


@DATASETS.register
class FashionMNIST:
    """Fashion-MNIST: grey 28 x 28 images of clothes in ten classes.

    Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    arXiv:1708.07747.

    Args:
        image_root: folder with the four IDX files (`train-images-idx3-ubyte`, ..., plain or .gz);
            None: the 6,000 training and 1,000 test images that ship with ppzoo.
        mode: which part.
        channels: 3 repeats the grey channel; 1 answers it alone.
        class_num: number of classes of the network, at least 10. None: not checked.

    Raises:
        ConfigError: another mode or number of channels.
        DataError: a file is missing or damaged, or does not fit the others.
    """

    def __init__(
        self,
        *,
        image_root: str | None = None,
        mode: Literal["train", "test"] = "train",
        channels: Literal[1, 3] = 3,
        class_num: int | None = None,
    ) -> None:
        if mode not in ("train", "test"):
            raise ConfigError(f"FashionMNIST.mode: expected 'train' or 'test', received {mode!r}")
        if channels not in (1, 3):
            raise ConfigError(f"FashionMNIST.channels: expected 1 or 3, received {channels!r}")
        if image_root is not None:
            _check_folder(image_root)
        folder = SHIPPED_FASHION_MNIST if image_root is None else Path(image_root)
        part = "train" if mode == "train" else "t10k"
        self.mode, self.channels = mode, channels
        self.images = read_idx(folder, f"{part}-images-idx3-ubyte", 3)
        self.labels = read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
        self.classes = list(FASHION_CLASSES)
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{folder}: {len(self.images)} {mode} images, but {len(self.labels)} labels: fetch them again"
            )
        if self.labels.max() >= len(self.classes):
            raise DataError(
                f"{folder}: label {self.labels.max()} is outside [0, 10): these are not Fashion-MNIST's files"
            )
        _check_class_count(len(self.classes), class_num, "FashionMNIST has")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.repeat(self.images[index][:, :, np.newaxis], self.channels, axis=2), int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"sample {index} of FashionMNIST ({self.mode})"


def _check_folder(image_root: str) -> None:
    if not os.path.isdir(image_root or "."):
        raise DataError(f"expected a folder of images, {image_root!r} is not one: correct dataset.image_root")


def _check_class_count(count: int, class_num: int | None, subject: str) -> None:
    if class_num is not None and count > class_num:
        raise DataError(f"{subject} {count} classes, but class_num is {class_num}: set Arch.class_num to {count}")
