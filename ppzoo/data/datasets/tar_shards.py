"""Images in tar files, for file systems that dislike millions of small files.

The headers are read once; after that any image is one read at a known place, so that samplers, the split by process and
worker, and a resumed epoch work as for every other dataset. Nothing is ever unpacked.
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
    """A folder of `.tar` files (not compressed) of `NAME.jpg` (or another image) and `NAME.cls`, the label in digits.

    That is the layout of WebDataset. Shards come in the order of their names, images in their order in the shard; files
    with other endings, and those whose names begin with a dot, are skipped.

    Args:
        image_root: the folder.
        class_num: labels must be below it; None: any label from 0 on.
        relabel: number the labels that occur from 0 on, in ascending order.

    Raises:
        DataError: a shard that is damaged or has links, members with paths outside, images without a label or labels
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
        places: list[np.ndarray] = []
        self.index = index_paths(self._read(None if relabel else class_num, places))
        if not len(self.index):
            raise DataError(f"the shards in {image_root!r} have no images: expected NAME.jpg and NAME.cls members")
        self.shard, self.offsets, self.sizes = np.concatenate(places, axis=1)
        self.labels = self.index.labels
        self.classes: list[str] | None = None
        if relabel:
            self.classes, self.labels = renumber_labels(self.labels)
            check_class_count(len(self.classes), class_num, f"{image_root!r} has")

    def _read(self, class_num: int | None, places: list[np.ndarray]) -> Iterator[tuple[str, int]]:
        """Name and label of every image; shards, offsets and sizes go into `places`, 3 x images a shard."""
        for number, shard in enumerate(self.shards):
            entries = read_shard(shard)
            for entry in entries:
                if class_num is not None and entry.label >= class_num:
                    raise DataError(
                        f"{shard}: label {entry.label} of {entry.name!r} is outside [0, class_num = {class_num}): "
                        "correct the label or Arch.class_num"
                    )
            rows = [(number, entry.offset, entry.size) for entry in entries]
            places.append(np.array(rows, np.int64).reshape(-1, 3).T)
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
            raise DataError(f"cannot read {self.describe(index)}: the shard has become shorter; restore it")
        return data, int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"{self.shards[self.shard[index]]}: {self.index.path(index)}"


def read_shard(path: str) -> list[Entry]:
    """The images of a shard, in their order.

    Raises:
        DataError: as for `TarShards`.
    """
    images: dict[str, Header] = {}
    labels: dict[str, int] = {}
    try:
        with open_plain_file(path) as file:
            for member in _files(path, file):
                key, suffix = _split(member.name)
                if (suffix in IMAGE_SUFFIXES and key in images) or (suffix == LABEL_SUFFIX and key in labels):
                    raise DataError(f"{path}: {member.name!r} comes twice; names must be unique in a shard")
                if suffix in IMAGE_SUFFIXES:
                    images[key] = member
                elif suffix == LABEL_SUFFIX:
                    file.seek(member.offset)
                    labels[key] = _label(path, member, file.read(min(member.size, MAX_LABEL_BYTES)))
    except OSError as error:
        raise DataError(f"cannot read the shard {path!r} ({error.strerror}): restore or remove it") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected a tar file without compression, got a broken one: make it anew") from error
    alone = images.keys() ^ labels.keys()
    if alone:
        name = min(alone)
        raise DataError(f"{path}: expected an image and {name + LABEL_SUFFIX!r}, got one of the two only")
    return [Entry(image.name, image.offset, image.size, labels[key]) for key, image in images.items()]


def _files(path: str, file: BinaryIO) -> Iterator[Header]:
    """The plain files in a tar file, whose bytes are all there."""
    length = os.path.getsize(path)
    for member in read_headers(file):
        shown = repr(member.name[:120])
        if member.kind == OTHER or member.name.startswith("/") or ".." in member.name.split("/"):
            raise DataError(
                f"{path}: member {shown} is a link, a device, sparse or outside of the shard; shards hold plain files"
            )
        if member.offset + member.size > length:
            raise DataError(f"{path}: it ends within {shown}: it is truncated, get it again")
        if member.kind == FILE and not is_hidden(member.name):
            yield member


def _split(name: str) -> tuple[str, str]:
    """'a/b.tar.JPG' -> ('a/b.tar', '.jpg')."""
    key, suffix = os.path.splitext(name)
    return key, suffix.lower()


def _label(path: str, member: Header, text: bytes) -> int:
    digits = text.strip()
    if member.size > MAX_LABEL_BYTES or not digits.isdigit() or len(digits) > 9:
        raise DataError(f"{path}: expected a class number in {member.name!r}, got {text[:16]!r}: write its digits")
    return int(digits)
