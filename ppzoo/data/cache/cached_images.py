"""The images of a dataset after its first transforms, which are not random, read from a cache where possible."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from PIL import __version__ as pillow_version

from ppzoo.data.cache.disk import DiskCache
from ppzoo.data.cache.memory import MemoryCache
from ppzoo.data.datasets import Dataset, FileDataset, SourceVersion
from ppzoo.data.transforms import Compose, Transform
from ppzoo.errors import ConfigError, DataError

logger = logging.getLogger("ppzoo")

CacheKind = Literal["memory", "disk"]
PIXELS_VERSION = 1  # increased when a version of ppzoo changes the results of transforms
CLOCK_TICK_NS = 100_000_000  # two changes of a file within this time can have the same time stamp


class Store(Protocol):
    """Where images are cached.

    Attributes:
        location: "memory" or a folder, for messages.
    """

    location: str

    def get(self, index: int, version: SourceVersion) -> np.ndarray | None: ...

    def put(self, index: int, version: SourceVersion, pixels: np.ndarray) -> None: ...

    def count(self) -> int: ...

    def stop_reason(self) -> str | None: ...


class CachedImages:
    """The images of a dataset after the transforms before the first random one, which are applied once per image.

    An image is decoded again if the size, the modification time or the change time of its file differs from when it
    was stored.

    Args:
        kind: "memory" or "disk".
        dataset: images in files.
        transforms: all transforms, the first of which decodes.

    Attributes:
        rest: the transforms after those whose results are cached: from the first random one on.

    Raises:
        ConfigError: the images are not in files, the transforms do not begin with `DecodeImage`, or `reduced` decoding
            depends on a random crop.
    """

    def __init__(self, kind: CacheKind, dataset: Dataset, transforms: Compose) -> None:
        if kind not in ("memory", "disk"):
            raise ConfigError(f"expected 'memory' or 'disk', got {kind!r}")
        if not isinstance(dataset, FileDataset):
            raise ConfigError(
                "expected a dataset of image files, got one whose images are in memory already: remove the key"
            )
        self.dataset = dataset
        self.first, self.rest = transforms.split_at_random()
        if not self.first.transforms:
            raise ConfigError("expected DecodeImage as the first transform: add it or remove the key")
        self.store: Store = (
            MemoryCache(len(dataset))
            if kind == "memory"
            else DiskCache(transforms_key(self.first.transforms), len(dataset))
        )
        self.kind, self.reported, self.is_stopped = kind, 0, False

    def __getitem__(self, index: int) -> tuple[np.ndarray, int | np.ndarray]:
        """Return an image after the first transforms, and its label.

        Raises:
            DataError: the file cannot be read, is not an image, or a transform cannot process it; the error names the
                file.
        """
        try:
            version = self.dataset.version(index)
        except OSError:  # reading the file reports the error
            return self._decode(index)
        image = self.store.get(index, version)
        if image is not None:
            return image, self.dataset.label(index)
        image, label = self._decode(index)
        if time.time_ns() - version.changed_ns > CLOCK_TICK_NS:
            self.store.put(index, version, image)
        return image, label

    def _decode(self, index: int) -> tuple[np.ndarray, int | np.ndarray]:
        source, label = self.dataset[index]
        try:
            return np.ascontiguousarray(self.first(source)), label
        except DataError as error:
            raise DataError(f"{self.dataset.describe(index)}: {error}") from error

    def report(self) -> None:
        """Log how many images are stored if the number has changed; once, log why no more images are stored."""
        count, reason = self.store.count(), self.store.stop_reason()
        if reason is not None and not self.is_stopped:
            self.is_stopped = True
            logger.warning(
                "dataset.cache: %s: %s; the other %d of %d images are decoded in each epoch",
                *(self.store.location, reason, len(self.dataset) - count, len(self.dataset)),
            )
        elif count != self.reported:
            logger.info("dataset.cache: %s: %d of %d images", self.store.location, count, len(self.dataset))
        self.reported = count


def transforms_key(transforms: list[Transform]) -> str:
    """Return a digest of what the results of transforms depend on: types and values of the transforms, and decoders."""
    facts = [PIXELS_VERSION, cv2.__version__, pillow_version, *map(_facts, transforms)]
    return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()


def _facts(value: Any) -> Any:
    """Return the types and values of an object and of its attributes or elements (lists, tuples and objects)."""
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_facts, value)]
    if isinstance(value, (int, float, str, type(None))):
        return value
    return type(value).__qualname__, [(name, _facts(item)) for name, item in sorted(vars(value).items())]
