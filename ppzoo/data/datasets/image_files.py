"""Datasets of image files: listed in a file, or in one folder per class."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from ppzoo.data.datasets.base import (
    DATASETS,
    SourceVersion,
    check_class_count,
    check_folder,
    file_version,
    is_hidden,
    renumber_labels,
)
from ppzoo.data.image_formats import IMAGE_SUFFIXES
from ppzoo.data.index import PathIndex, index_paths, read_list
from ppzoo.data.label_files import read_sibling_labels
from ppzoo.data.table_lists import ListTable, is_table, number_labels, read_table
from ppzoo.errors import DataError
from ppzoo.files import PathText, is_utf8, read_plain_file


def iter_images(folder: str, skipped: Counter[str] | None = None) -> Iterator[str]:
    """Yield the paths of the image files at any depth below a folder: folder by folder, each sorted by name.

    Image files have an extension of `IMAGE_SUFFIXES`, in upper or lower case. Hidden files and folders, whose names
    begin with a dot, are skipped. Symbolic links to folders are not followed.

    Args:
        skipped: counts the skipped files that are not hidden, by extension.

    Raises:
        DataError: a folder cannot be read.
    """
    for parent, folders, files in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for file in sorted(name for name in files if not is_hidden(name)):
            suffix = os.path.splitext(file)[1].lower()
            if suffix in IMAGE_SUFFIXES:
                yield os.path.join(parent, file)
            elif skipped is not None:
                skipped[suffix] += 1


SPLIT_FOLDER_NAMES = {"train", "val", "valid", "validation", "test", "eval", "training", "testing", "evaluation"}


class ImageFiles:
    """Base of the datasets of image files: `index` contains their paths relative to `image_root`."""

    image_root: str
    index: PathIndex
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[bytes, int | np.ndarray]:
        try:
            return read_plain_file(self.describe(index)), self.label(index)
        except OSError as error:
            raise self._unreadable(index, error.strerror) from error

    def require_file(self, index: int) -> None:
        """Check that the image exists, without reading it.

        Raises:
            DataError: it is missing, empty or not a file.
        """
        path = self.describe(index)
        try:
            status = os.stat(path)
        except OSError as error:
            raise self._unreadable(index, error.strerror) from error
        if not stat.S_ISREG(status.st_mode):
            raise self._unreadable(index, "not a file")
        if not status.st_size:
            raise self._unreadable(index, "the file is empty")

    def _unreadable(self, index: int, reason: str | None) -> DataError:
        return DataError(
            f"cannot read the image {self.describe(index)!r} ({reason}; {self.origin(index)}): "
            "restore the file or correct dataset.image_root"
        )

    def version(self, index: int) -> SourceVersion:
        """Return the version of an image's file, without reading it.

        Raises:
            OSError: it is missing.
        """
        try:
            return file_version(self.describe(index))
        except ValueError as error:
            raise OSError(errno.EINVAL, "the name contains a NUL character") from error

    def label(self, index: int) -> int | np.ndarray:
        """Return the label of a sample."""
        return int(self.labels[index])

    def describe(self, index: int) -> str:
        return os.path.join(self.image_root, self.index.path(index))

    def origin(self, index: int) -> str:
        """Return where the path of a sample comes from, for messages."""
        raise NotImplementedError


@DATASETS.register_as("MultiScaleDataset")
@DATASETS.register
class ImageNetDataset(ImageFiles):
    """Images and labels from a list file with "PATH LABEL" lines, a CSV or a Parquet file.

    The formats are described in `ppzoo.data.index` and `ppzoo.data.table_lists`. The constructor does not check whether
    every image exists, because there can be millions. A `label_list.txt` in the folder of the list names the classes
    ("0 cat" lines, as written by `ppzoo data split`).

    Args:
        image_root: folder that the paths in the list are relative to.
        cls_label_path: the list file. If its name ends in `.csv` or `.parquet`, and `delimiter` is not set, it is a
            table, whose labels are class indices or class names.
        class_num: number of classes; None: not checked.
        delimiter: character between the path and the label; None: space or tab.
        relabel: renumber the labels from 0 on, in ascending order; the old numbers become the names of the classes.
        path_column: name of the column of a table that has the paths; None: a usual name such as `path`.
        label_column: name of the column of a table that has the labels; None: a usual name such as `label`.

    Attributes:
        is_numbered: whether the labels are the numbers in the list.

    Raises:
        DataError: the folder or the list is missing, or a line of the list is invalid.
    """

    def __init__(
        self,
        *,
        image_root: PathText,
        cls_label_path: PathText,
        class_num: int | None = None,
        delimiter: str | None = None,
        relabel: bool = False,
        path_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        check_folder(image_root)
        self.image_root, self.list_file = image_root, cls_label_path
        self.table: ListTable | None = None
        if is_table(cls_label_path) and delimiter is None:
            columns = None if label_column is None else [label_column]
            self.table = read_table(cls_label_path, path_column=path_column, label_columns=columns)
            self._number(self.table, class_num, relabel)
            return
        if path_column is not None or label_column is not None:
            raise DataError(
                f"path_column, label_column: expected a list file that ends in .csv or .parquet, got {cls_label_path!r}"
                f"{' with a delimiter' if delimiter is not None else ''}: remove these options"
            )
        self.index = read_list(cls_label_path, class_num=None if relabel else class_num, delimiter=delimiter)
        self.labels = self.index.labels
        self.is_numbered = not relabel
        self.classes = None if relabel else read_sibling_labels(cls_label_path, self.labels, class_num)
        if relabel:
            self.classes, self.labels = renumber_labels(self.labels)
            check_class_count(len(self.classes), class_num, f"the list file {cls_label_path!r} has")

    def _number(self, table: ListTable, class_num: int | None, relabel: bool) -> None:
        """Set the labels and classes to those of a table."""
        self.index = table.index
        self.labels, self.classes = number_labels(table, None if relabel else class_num)
        self.is_numbered = self.classes is None and not relabel
        if self.is_numbered:
            self.classes = read_sibling_labels(self.list_file, self.labels, class_num)
            return
        if self.classes is None:
            self.classes, self.labels = renumber_labels(self.labels)
        check_class_count(len(self.classes), class_num, f"the list file {self.list_file!r} has")

    def origin(self, index: int) -> str:
        if self.table is not None:
            return self.table.origin(index)
        return f"{self.list_file}, line {self.index.line(index)}"


@DATASETS.register
class ImageFolder(ImageFiles):
    """One folder per class, with its images at any depth; classes are numbered in sorted order of their names.

    `iter_images` defines which files are images; class folders whose names begin with a dot are skipped. Symbolic
    links to files and to class folders are followed, links to folders inside them are not.

    Args:
        image_root: folder that contains the class folders.
        class_num: number of classes of the network; can be larger than the number of folders. None: not checked.

    Attributes:
        skipped: extension -> number of files in class folders that were skipped because of their extension.

    Raises:
        DataError: no class folder, too many of them, one without images or with a name that label files cannot
            contain, two of the same name, folders of a split instead of classes, or a folder that cannot be read.
    """

    def __init__(self, *, image_root: PathText, class_num: int | None = None) -> None:
        check_folder(image_root)
        self.image_root = image_root
        try:
            entries = os.listdir(image_root)
        except OSError as error:
            _raise_unreadable(error)
        self.classes = sorted(
            name for name in entries if not is_hidden(name) and os.path.isdir(os.path.join(image_root, name))
        )
        for name in self.classes:
            if name != name.strip() or set("\r\n") & set(name) or not is_utf8(name):
                raise DataError(
                    f"the name of the class folder {name!r} begins or ends with a space, has a line end or is not"
                    " UTF-8, which label files cannot contain: rename it"
                )
        if not self.classes:
            raise DataError(f"expected images in {image_root}/CLASS/, got {image_root!r}, which has no class folders")
        _check_class_names(image_root, self.classes)
        check_class_count(len(self.classes), class_num, f"{image_root!r} has")
        self.skipped: Counter[str] = Counter()
        self.index = index_paths(self._images())
        self.labels = self.index.labels

    def _images(self) -> Iterator[tuple[str, int]]:
        for label, name in enumerate(self.classes):
            found, skipped = False, Counter[str]()
            for path in iter_images(os.path.join(self.image_root, name), skipped):
                found = True
                yield os.path.relpath(path, self.image_root), label
            if not found:
                others = f", but files with the extensions {_format_extensions(skipped)}" if skipped else ""
                raise DataError(
                    f"the class folder {os.path.join(self.image_root, name)!r} has no images"
                    f" (files that end in .jpg, .png, ...){others}: add some or remove the folder"
                )
            self.skipped += skipped

    def origin(self, index: int) -> str:
        return f"found in {self.image_root} when the dataset was built"


def _check_class_names(image_root: str, names: list[str]) -> None:
    """Raise an error for the folders of a split (train, val, ...) instead of classes, and for two equal names."""
    if {name.lower() for name in names} <= SPLIT_FOLDER_NAMES:
        likely = next((name for name in names if name.lower().startswith("train")), names[0])
        raise DataError(
            f"expected class folders, got {', '.join(names)} in {image_root!r}, which looks like a"
            f" split: use one of them, such as {os.path.join(image_root, likely)!r} (or a list file, if these are"
            " classes)"
        )
    seen: dict[str, str] = {}
    for name in names:
        if seen.setdefault(unicodedata.normalize("NFC", name), name) != name:
            raise DataError(
                f"{image_root!r} has two class folders {name!r}, which differ only in their Unicode normal form: merge"
                " them"
            )


def describe_skipped(skipped: Counter[str]) -> str:
    """Return a message about the files that were skipped."""
    return f"skipped {skipped.total()} files without an image extension: {_format_extensions(skipped)}"


def _format_extensions(skipped: Counter[str]) -> str:
    """Format the five most frequent extensions: '.heic (12), .txt (1)'."""
    return ", ".join(f"{suffix or 'without extension'} ({count})" for suffix, count in skipped.most_common(5))


def _raise_unreadable(error: OSError) -> NoReturn:
    raise DataError(
        f"cannot read the folder {error.filename!r} ({error.strerror}): correct its permissions, or name another folder"
    ) from error
