"""CIFAR-10 and CIFAR-100, from the archives that PaddlePaddle downloads.

The archives contain pickles, which `ppzoo.safe_pickle` reads without executing them; nothing is unpacked to disk. (For
images in one folder per class use `ImageFolder`.)
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ppzoo.data.datasets.base import DATASETS, check_class_count
from ppzoo.errors import ConfigError, DataError, WeightsError
from ppzoo.files import PathText, expand_user, open_plain_file
from ppzoo.safe_pickle.reader import unpickle
from ppzoo.tar_headers import FILE, read_headers

PADDLE_CACHE = "~/.cache/paddle/dataset/cifar"
MAX_BYTES = 1 << 28  # of an unpacked archive or of one file; the real archives unpack to 186 million bytes
PIXELS = 3 * 32 * 32


class _CIFAR:
    """Base of CIFAR10 and CIFAR100: 32 x 32 color images; the subclasses define the layout of their archives.

    Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", 2009.

    Args:
        data_file: the archive, or the folder unpacked from it; None: the archive that
            `paddle.vision.datasets.Cifar10()` or `Cifar100()` has downloaded.
        mode: "train" or "test".
        class_num: number of classes of the network. None: not checked.

    Raises:
        ConfigError: an unknown mode.
        DataError: the archive is missing, damaged or not CIFAR's; or there are more classes than `class_num`.
    """

    archive: str
    folder: str
    parts: dict[str, list[str]]  # mode -> files with images
    label_key: str
    names_location: tuple[str, str]  # file with the class names, and their key in it
    count: int  # of classes
    paddle_name: str

    def __init__(
        self,
        *,
        data_file: PathText | None = None,
        mode: Literal["train", "test"] = "train",
        class_num: int | None = None,
    ) -> None:
        if mode not in self.parts:
            raise ConfigError(f"{type(self).__name__}.mode: expected 'train' or 'test', got {mode!r}")
        check_class_count(self.count, class_num, f"{type(self).__name__} has")
        self.mode = mode
        self.file = (
            Path(data_file)
            if data_file
            else Path(expand_user(PADDLE_CACHE, fix="set dataset.data_file")) / self.archive
        )
        if not os.path.exists(self.file):
            raise DataError(
                f"dataset.data_file: expected {self.archive}, but {str(self.file)!r} does not exist: correct the "
                f"key, or remove it and run `python -c 'import paddle; paddle.vision.datasets.{self.paddle_name}()'`"
            )
        meta, key = self.names_location
        contents = self._read([meta, *self.parts[mode]])
        self.classes = self._field(contents[0], key, self.count)
        if not all(isinstance(name, str) for name in self.classes):
            raise DataError(f"{self.file}: expected strings in {key!r}, got other values: download it again")
        batches = [self._batch(content) for content in contents[1:]]
        self.images = np.concatenate([images for images, _ in batches])
        self.labels = np.concatenate([labels for _, labels in batches])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index].reshape(3, 32, 32).transpose(1, 2, 0).copy(), int(self.labels[index])

    def describe(self, index: int) -> str:
        return f"sample {index} of {type(self).__name__} ({self.mode})"

    def _read(self, names: list[str]) -> list[Any]:
        """Unpickle some files of the archive, or of the folder."""
        if os.path.isdir(self.file):
            root = self.file if os.path.isfile(self.file / names[0]) else self.file / self.folder
            return [self._unpickle(self._content(root / name), name) for name in names]
        found: dict[str, bytes] = {}
        try:
            with open_plain_file(self.file) as file, gzip.GzipFile(fileobj=file) as stream:
                content = stream.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes when unpacked")
            for member in read_headers(io.BytesIO(content)):
                if member.offset + member.size > len(content):
                    raise ValueError("truncated file")
                name = member.name.removeprefix(f"{self.folder}/")
                if name in names and member.kind == FILE:
                    found[name] = content[member.offset : member.offset + member.size]
        except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
            raise DataError(f"cannot read the archive {self.file} ({error}): download it again") from error
        missing = [name for name in names if name not in found]
        if missing:
            raise DataError(f"{self.file}: expected a member {self.folder}/{missing[0]}, got none: download it again")
        return [self._unpickle(found[name], name) for name in names]

    def _content(self, path: Path) -> bytes:
        if not os.path.isfile(path):
            raise DataError(f"{str(path)!r} does not exist: unpack {self.archive} again")
        try:
            if path.stat().st_size > MAX_BYTES:
                raise DataError(f"{path}: expected at most {MAX_BYTES} bytes, got more: unpack {self.archive} again")
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {str(path)!r} ({error.strerror}): unpack {self.archive} again") from error

    def _unpickle(self, content: bytes, name: str) -> Any:
        try:
            return unpickle(io.BytesIO(content), f"{self.file}: {name}")
        except WeightsError as error:
            raise DataError(f"{error}; download {self.archive} again") from error

    def _field(self, content: Any, key: str, count: int | None = None) -> list[Any]:
        values = content.get(key) if isinstance(content, dict) else None
        if not isinstance(values, list) or (count is not None and len(values) != count):
            raise DataError(f"{self.file}: the list {key!r} is missing or has a wrong length: download it again")
        return values

    def _batch(self, content: Any) -> tuple[np.ndarray, np.ndarray]:
        labels = self._field(content, self.label_key)
        images = content.get("data")
        labels_valid = all(type(label) is int and 0 <= label < self.count for label in labels)
        if not (
            labels_valid
            and isinstance(images, np.ndarray)
            and images.dtype == np.uint8
            and images.shape == (len(labels), PIXELS)
        ):
            raise DataError(f"{self.file}: images and labels are invalid or do not match: download it again")
        return images, np.array(labels)


@DATASETS.register
class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test images of ten classes."""

    archive, folder = "cifar-10-python.tar.gz", "cifar-10-batches-py"
    parts = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    label_key, names_location = "labels", ("batches.meta", "label_names")
    count, paddle_name = 10, "Cifar10"


@DATASETS.register
class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test images of 100 classes."""

    archive, folder = "cifar-100-python.tar.gz", "cifar-100-python"
    parts = {"train": ["train"], "test": ["test"]}
    label_key, names_location = "fine_labels", ("meta", "fine_label_names")
    count, paddle_name = 100, "Cifar100"
