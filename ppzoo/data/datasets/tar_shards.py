"""Images in tar files, for file systems that are slow with millions of small files.

The headers are read once; then each image is one read at a known offset, so that random access by samplers, several
processes, workers and resumed epochs works as for every other dataset. Nothing is unpacked to disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

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
from ppzoo.data.index import index_paths
from ppzoo.errors import ConfigError, DataError
from ppzoo.files import PathText, open_plain_file
from ppzoo.tar_headers import FILE, OTHER, Header, read_headers

LABEL_MEMBERS = ("cls", "json", "txt")
MAX_LABEL_BYTES = 256
MAX_JSON_BYTES = 1 << 20


class Entry(NamedTuple):
    """An image in a shard, and its label."""

    name: str
    offset: int
    size: int
    label: str


@DATASETS.register
class TarShards:
    """A folder of uncompressed `.tar` files with members `NAME.jpg` (or another image) and `NAME.cls` (the label).

    This is the layout of WebDataset: members whose paths are equal up to the first dot of the file name belong to one
    sample. Labels are class indices, or class names, which are numbered in sorted order. Shards are sorted by name,
    images in their order in the shard (images whose label has a shorter name, such as `NAME.seg.png`, last). Members
    with other extensions, and those whose names begin with a dot, are skipped.

    Args:
        image_root: folder with the `.tar` files.
        label_member: extension of the members that contain the label: `cls`, `txt` or `json`.
        label_key: key of the label in the object of a `json` member.
        class_num: labels must be below it; None: any label of 0 or more.
        relabel: renumber the labels from 0 on, in ascending order; the old numbers become the names of the classes.

    Raises:
        ConfigError: an unknown `label_member`.
        DataError: a shard is damaged, or contains links, paths outside of the shard, images without a label or labels
            without an image.
    """

    def __init__(
        self,
        *,
        image_root: PathText,
        class_num: int | None = None,
        relabel: bool = False,
        label_member: str = "cls",
        label_key: str = "label",
    ) -> None:
        if label_member not in LABEL_MEMBERS:
            raise ConfigError(f"label_member: expected {', '.join(LABEL_MEMBERS)}, got {label_member!r}")
        check_folder(image_root)
        self.label_member, self.label_key = label_member, label_key
        self.names: dict[str, int] = {}  # class name -> its number in the order of occurrence
        self.first_label: tuple[str, bool] | None = None  # its text, and whether it is a class index
        self.shards = list_shards(image_root)
        locations: list[np.ndarray] = []
        self.index = index_paths(self._read(None if relabel else class_num, locations))
        if not len(self.index):
            raise DataError(f"the shards in {image_root!r} have no images: expected NAME.jpg and NAME.cls members")
        self.shard, self.offsets, self.sizes = np.concatenate(locations, axis=1)
        self.labels = self.index.labels
        self.classes: list[str] | None = None
        if self.names:
            self.classes = sorted(self.names)
            numbers = np.argsort([self.names[name] for name in self.classes])
            self.labels = numbers[self.labels].astype(np.int32)
            check_class_count(len(self.classes), class_num, f"{image_root!r} has")
            return
        if relabel:
            self.classes, self.labels = renumber_labels(self.labels)
            check_class_count(len(self.classes), class_num, f"{image_root!r} has")

    def _read(self, class_num: int | None, locations: list[np.ndarray]) -> Iterator[tuple[str, int]]:
        """Yield name and label of every image; append shard, offset and size (3 x images) per shard to `locations`."""
        for number, shard in enumerate(self.shards):
            entries = read_shard(shard, self.label_member, self.label_key)
            labels = [self._number(shard, entry, class_num) for entry in entries]
            rows = [(number, entry.offset, entry.size) for entry in entries]
            locations.append(np.array(rows, np.int64).reshape(-1, 3).T)
            names = (os.fsdecode(entry.name.encode(errors="surrogateescape")) for entry in entries)
            yield from zip(names, labels, strict=True)

    def _number(self, shard: str, entry: Entry, class_num: int | None) -> int:
        """Return the class index of an image; for a class name, its number in the order of occurrence."""
        is_index = entry.label.isascii() and entry.label.isdigit() and len(entry.label) <= 9
        if self.first_label is None:
            self.first_label = entry.label, is_index
        if self.first_label[1] != is_index:
            kind = "index" if self.first_label[1] else "name"
            raise DataError(
                f"{shard}: expected a class {kind} as label of {entry.name!r}, like"
                f" {self.first_label[0][:60]!r} of the first image, got {entry.label[:60]!r}: correct the label"
            )
        if not is_index:
            return self.names.setdefault(entry.label, len(self.names))
        if class_num is not None and int(entry.label) >= class_num:
            raise DataError(
                f"{shard}: label {entry.label} of {entry.name!r} is outside [0, class_num = {class_num}): "
                "correct the label or Arch.class_num"
            )
        return int(entry.label)

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
        return data, self.label(index)

    def version(self, index: int) -> SourceVersion:
        """Return the version of an image, whose times are those of its shard.

        Raises:
            OSError: the shard is missing.
        """
        return file_version(self.shards[self.shard[index]], int(self.offsets[index]), int(self.sizes[index]))

    def label(self, index: int) -> int:
        """Return the label of a sample."""
        return int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"{self.shards[self.shard[index]]}: {self.index.path(index)}"


def list_shards(folder: str) -> list[str]:
    """Return the shards in a folder, sorted.

    Raises:
        DataError: the folder cannot be read, or there are none.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".tar") and not is_hidden(name))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder!r} ({error.strerror}): correct its permissions") from error
    shards = [path for path in (os.path.join(folder, name) for name in names) if not os.path.isdir(path)]
    if not shards:
        raise DataError(f"{folder!r} has no .tar files: expected shards with images and .cls files")
    return shards


def read_shard(path: str, label_member: str = "cls", label_key: str = "label") -> list[Entry]:
    """Return the images of a shard, in the order that `TarShards` describes.

    Raises:
        DataError: see `TarShards`.
    """
    label_suffix = f".{label_member}"
    images: dict[str, Header] = {}
    labels: dict[str, str] = {}
    other_labels: dict[str, str] = {}  # key -> extension of a member that could contain the label
    try:
        with open_plain_file(path) as file:
            for member in _files(path, file):
                key, suffix = _split(member.name)
                if suffix != label_suffix and suffix[1:] in LABEL_MEMBERS:
                    other_labels.setdefault(key, suffix[1:])
                if (suffix in IMAGE_SUFFIXES and key in images) or (suffix == label_suffix and key in labels):
                    raise DataError(f"{path}: {member.name!r} occurs twice; names must be unique in a shard")
                if suffix in IMAGE_SUFFIXES:
                    images[key] = member
                elif suffix == label_suffix:
                    file.seek(member.offset)
                    limit = MAX_JSON_BYTES if label_member == "json" else MAX_LABEL_BYTES
                    text = file.read(min(member.size, limit))
                    labels[key] = _label(path, member, text, label_key if label_member == "json" else None)
    except OSError as error:
        raise DataError(f"cannot read the shard {path!r} ({error.strerror}): restore or remove it") from error
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: expected an uncompressed tar file, got a broken one ({error}): create it again"
        ) from error
    images = _group(path, images, labels)
    unpaired = images.keys() ^ labels.keys()
    if unpaired:
        name = min(unpaired)
        other = other_labels.get(name) if name in images else None
        fix = f": set dataset.label_member to {other} if {name}.{other} contains the label" if other else ""
        raise DataError(f"{path}: expected an image and {name + label_suffix!r}, got only one of the two{fix}")
    return [Entry(image.name, image.offset, image.size, labels[key]) for key, image in images.items()]


def _group(path: str, images: dict[str, Header], labels: dict[str, str]) -> dict[str, Header]:
    """Return the images by the key of their label: 'a/1.seg.png' belongs to the sample 'a/1', as in WebDataset.

    If such a sample also has an image 'a/1.jpg', this one is used, and the others are skipped.
    """
    grouped = {key: image for key, image in images.items() if key in labels}
    extra: dict[str, Header] = {}
    for key, image in images.items():
        folder, slash, name = key.rpartition("/")
        sample = folder + slash + name.partition(".")[0]
        if key in labels or sample in grouped:
            continue
        if sample in extra:
            raise DataError(
                f"{path}: expected one image per sample, got {extra[sample].name!r} and {image.name!r}: name one"
                f" of them {sample + '.jpg'!r}"
            )
        extra[sample] = image
    return {**grouped, **extra}


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
                f"{path}: expected regular files, got {shown}, which is a link, device or sparse file, or has a path"
                " outside of the shard: create the shard again without it"
            )
        if member.offset + member.size > length:
            raise DataError(f"{path}: the shard is truncated within {shown}: download or create it again")
        if member.kind == FILE and not is_hidden(member.name):
            yield member


def _split(name: str) -> tuple[str, str]:
    """Split 'a/b.tar.JPG' into 'a/b.tar' and '.jpg'."""
    key, suffix = os.path.splitext(name)
    return key, suffix.lower()


def _label(path: str, member: Header, content: bytes, label_key: str | None) -> str:
    """Return the label in a member: its text, or with `label_key` the value of that key of its JSON object."""
    where, shown = f"{path}: expected a class index or name in {member.name!r}", repr(content[:16])
    if len(content) < member.size:
        raise DataError(f"{where}, got {member.size} bytes: write the label only")
    try:
        text = content.decode("utf-8-sig")
        label = text if label_key is None else _json_value(where, text, label_key)
    except (ValueError, RecursionError) as error:
        kind = "UTF-8 text" if label_key is None else "a JSON object in UTF-8"
        raise DataError(f"{where}, as {kind}, got {shown}: correct it") from error
    label = label.strip()
    if not label or len(label.encode()) > MAX_LABEL_BYTES or not label.isprintable() or _is_invalid_number(label):
        raise DataError(f"{where}, got {label[:60]!r}: write its digits or the class name")
    return label


def _json_value(where: str, text: str, key: str) -> str:
    values = json.loads(text)
    if not isinstance(values, dict) or key not in values:
        keys = ", ".join(repr(name[:40]) for name in list(values)[:10]) if isinstance(values, dict) else "no object"
        raise DataError(f"{where} under the key {key!r}, got {keys or 'no keys'}: set dataset.label_key")
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise DataError(f"{where} under the key {key!r}, got {value!r:.60}: write an integer or text")
    return str(value)


def _is_invalid_number(label: str) -> bool:
    """Whether a label is a number, but not a class index."""
    digits = label.lstrip("+-").replace(".", "", 1)
    return digits.isdigit() and not (label.isascii() and label.isdigit() and len(label) <= 9)
