"""Images in tar files, for file systems that are slow with millions of small files.

The headers are read once; then each image is one read at a known offset, so that random access by samplers, several
processes, workers and resumed epochs works as for every other dataset. Nothing is unpacked to disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from ppzoo.data.datasets.base import DATASETS, check_class_count, check_folder, is_hidden, renumber_labels
from ppzoo.data.datasets.tar_headers import FILE, OTHER, Header, read_headers
from ppzoo.data.image_formats import IMAGE_SUFFIXES
from ppzoo.data.index import index_paths
from ppzoo.errors import DataError
from ppzoo.files import PathText, open_plain_file

LABEL_SUFFIX = ".cls"
MAX_LABEL_BYTES = 16


class Entry(NamedTuple):
    """An image in a shard, and its label."""

    name: str
    offset: int
    size: int
    label: int


@DATASETS.register
class TarShards:
    """A folder of uncompressed `.tar` files with members `NAME.jpg` (or another image) and `NAME.cls` (the label).

    This is the layout of WebDataset. Shards are sorted by name, images in their order in the shard; members with other
    extensions, and those whose names begin with a dot, are skipped.

    Args:
        image_root: the folder.
        class_num: labels must be below it; None: any label of 0 or more.
        relabel: renumber the labels from 0 on, in ascending order.

    Raises:
        DataError: a shard is damaged, or contains links, paths outside of the shard, images without a label or labels
            without an image.
    """

    def __init__(self, *, image_root: PathText, class_num: int | None = None, relabel: bool = False) -> None:
        check_folder(image_root)
        try:
            names = sorted(name for name in os.listdir(image_root) if name.endswith(".tar") and not is_hidden(name))
        except OSError as error:
            raise DataError(
                f"cannot read the folder {image_root!r} ({error.strerror}): correct its permissions"
            ) from error
        self.shards = [path for path in (os.path.join(image_root, name) for name in names) if not os.path.isdir(path)]
        if not self.shards:
            raise DataError(f"{image_root!r} has no .tar files: expected shards with images and .cls files")
        locations: list[np.ndarray] = []
        self.index = index_paths(self._read(None if relabel else class_num, locations))
        if not len(self.index):
            raise DataError(f"the shards in {image_root!r} have no images: expected NAME.jpg and NAME.cls members")
        self.shard, self.offsets, self.sizes = np.concatenate(locations, axis=1)
        self.labels = self.index.labels
        self.classes: list[str] | None = None
        if relabel:
            self.classes, self.labels = renumber_labels(self.labels)
            check_class_count(len(self.classes), class_num, f"{image_root!r} has")

    def _read(self, class_num: int | None, locations: list[np.ndarray]) -> Iterator[tuple[str, int]]:
        """Yield name and label of every image; append shard, offset and size (3 x images) per shard to `locations`."""
        for number, shard in enumerate(self.shards):
            entries = read_shard(shard)
            for entry in entries:
                if class_num is not None and entry.label >= class_num:
                    raise DataError(
                        f"{shard}: label {entry.label} of {entry.name!r} is outside [0, class_num = {class_num}): "
                        "correct the label or Arch.class_num"
                    )
            rows = [(number, entry.offset, entry.size) for entry in entries]
            locations.append(np.array(rows, np.int64).reshape(-1, 3).T)
            names = (os.fsdecode(entry.name.encode(errors="surrogateescape")) for entry in entries)
            yield from zip(names, (entry.label for entry in entries), strict=True)

    def __len__(self) -> int:
        return len(self.shard)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        path, size = self.shards[self.shard[index]], int(self.sizes[index])
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(int(self.offsets[index]))
                data = file.read(size)
        except OSError as error:
            raise DataError(f"cannot read {self.describe(index)} ({error.strerror}): restore the shard") from error
        if len(data) < size:
            raise DataError(
                f"cannot read {self.describe(index)}: the shard is shorter than when the dataset was opened; restore it"
            )
        return data, int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"{self.shards[self.shard[index]]}: {self.index.path(index)}"


def read_shard(path: str) -> list[Entry]:
    """Return the images of a shard, in their order.

    Raises:
        DataError: see `TarShards`.
    """
    images: dict[str, Header] = {}
    labels: dict[str, int] = {}
    try:
        with open_plain_file(path) as file:
            for member in _files(path, file):
                key, suffix = _split(member.name)
                if (suffix in IMAGE_SUFFIXES and key in images) or (suffix == LABEL_SUFFIX and key in labels):
                    raise DataError(f"{path}: {member.name!r} occurs twice; names must be unique in a shard")
                if suffix in IMAGE_SUFFIXES:
                    images[key] = member
                elif suffix == LABEL_SUFFIX:
                    file.seek(member.offset)
                    labels[key] = _label(path, member, file.read(min(member.size, MAX_LABEL_BYTES)))
    except OSError as error:
        raise DataError(f"cannot read the shard {path!r} ({error.strerror}): restore or remove it") from error
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: expected an uncompressed tar file, got a broken one ({error}): create it again"
        ) from error
    unpaired = images.keys() ^ labels.keys()
    if unpaired:
        name = min(unpaired)
        raise DataError(f"{path}: expected an image and {name + LABEL_SUFFIX!r}, got only one of the two")
    return [Entry(image.name, image.offset, image.size, labels[key]) for key, image in images.items()]


def _files(path: str, file: BinaryIO) -> Iterator[Header]:
    """Yield the regular, complete files in a tar file.

    Raises:
        DataError: another kind of member, a path outside of the shard, or a truncated file.
    """
    length = os.path.getsize(path)
    for member in read_headers(file):
        shown = repr(member.name[:120])
        if member.kind == OTHER or member.name.startswith("/") or ".." in member.name.split("/"):
            raise DataError(
                f"{path}: expected regular files, got {shown}: a link, device, sparse file, or outside of the shard"
            )
        if member.offset + member.size > length:
            raise DataError(f"{path}: the shard is truncated within {shown}: download or create it again")
        if member.kind == FILE and not is_hidden(member.name):
            yield member


def _split(name: str) -> tuple[str, str]:
    """Split 'a/b.tar.JPG' into 'a/b.tar' and '.jpg'."""
    key, suffix = os.path.splitext(name)
    return key, suffix.lower()


def _label(path: str, member: Header, text: bytes) -> int:
    digits = text.strip()
    if member.size > MAX_LABEL_BYTES or not digits.isdigit() or len(digits) > 9:
        raise DataError(f"{path}: expected a class index in {member.name!r}, got {text[:16]!r}: write its digits")
    return int(digits)
