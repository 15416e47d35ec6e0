"""Datasets of image files below a folder: named in a list, or sorted into one folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from ppzoo.data.datasets.base import DATASETS, IMAGE_SUFFIXES, check_class_count, check_folder
from ppzoo.data.index import PathIndex, index_paths, read_list
from ppzoo.errors import DataError
from ppzoo.files import is_utf8, read_plain_file


class ImageFiles:
    """Datasets of image files below a folder, `index` holding their paths; `origin` says where a path comes from."""

    image_root: str
    index: PathIndex
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[bytes, int | np.ndarray]:
        path = self.describe(index)
        try:
            return read_plain_file(path), self.label(index)
        except OSError as error:
            raise DataError(
                f"cannot read the image {path!r} ({error.strerror}; {self.origin(index)}): "
                "restore the file or correct dataset.image_root"
            ) from error

    def label(self, index: int) -> int | np.ndarray:
        return int(self.labels[index])

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
        check_folder(image_root)
        self.image_root, self.list_file = image_root, cls_label_path
        self.index = read_list(cls_label_path, class_num=None if relabel else class_num, delimiter=delimiter)
        self.labels = self.index.labels
        self.classes: list[str] | None = None
        if relabel:
            numbers, self.labels = np.unique(self.labels, return_inverse=True)
            check_class_count(len(numbers), class_num, f"the list file {cls_label_path!r} has")

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
        DataError: no class folder, too many of them, one without images or with a name that no list of labels can
            hold, or a folder that cannot be read.
    """

    def __init__(self, *, image_root: str, class_num: int | None = None) -> None:
        check_folder(image_root)
        self.image_root = image_root
        try:
            entries = os.listdir(image_root)
        except OSError as error:
            _refuse(error)
        self.classes = sorted(
            name for name in entries if not name.startswith(".") and os.path.isdir(os.path.join(image_root, name))
        )
        for name in self.classes:
            if name != name.strip() or set("\r\n") & set(name) or not is_utf8(name):
                raise DataError(
                    f"the class folder {name!r} begins or ends with a blank, has a line end or is not UTF-8, which no"
                    " list of labels can hold: rename it"
                )
        if not self.classes:
            raise DataError(f"{image_root!r} has no class folders: expected {image_root}/CLASS/IMAGE files")
        check_class_count(len(self.classes), class_num, f"{image_root!r} has")
        self.index = index_paths(self._images())
        self.labels = self.index.labels

    def _images(self) -> Iterator[tuple[str, int]]:
        for label, name in enumerate(self.classes):
            found = False
            for folder, folders, files in os.walk(os.path.join(self.image_root, name), onerror=_refuse):
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


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"cannot read the folder {error.filename!r} ({error.strerror}): correct its permissions or dataset.image_root"
    ) from error
