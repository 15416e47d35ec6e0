"""Decoded images in memory that a process shares with its forked workers; it is freed when the last process ends."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import numpy as np

from ppzoo.data.cache.entries import HEADER_BYTES, Header, digest_version, unpack_header
from ppzoo.data.cache.shared import Problem, SharedVector
from ppzoo.data.datasets import SourceVersion
from ppzoo.errors import ConfigError
from ppzoo.host import available_memory

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNKNOWN_MEMORY_BYTES = 4 << 30  # capacity where the available memory is not known
KEPT_FRACTION = 0.25  # of the memory that is available at the start stays free
NO_CONTENT = b"\0" * 16  # instead of a digest of the pixels, which cannot be damaged in memory


class MemoryCache:
    """Stores images by their index.

    Images are appended to one block of memory; the system only allocates the part that is written. `offsets` has the
    position of each image in this block, or 0 if the image is not stored, and is set after the image is written.

    Args:
        count: number of images of the dataset.
        capacity: largest size in bytes; None: the available memory, or 4 GiB if that is unknown.
        kept_bytes: no image is stored when less memory than this is available; None: a quarter of what is available.

    Raises:
        ConfigError: the system cannot reserve the memory.
    """

    location = "memory"

    def __init__(self, count: int, *, capacity: int | None = None, kept_bytes: int | None = None) -> None:
        available = available_memory()
        self.kept_bytes = int((available or 0) * KEPT_FRACTION) if kept_bytes is None else kept_bytes
        self.capacity = (available or UNKNOWN_MEMORY_BYTES) if capacity is None else capacity
        self.memory = _reserve(self.capacity)
        self.offsets, self.end, self.problem = SharedVector(count), SharedVector(1), Problem()
        self.end.values[0] = HEADER_BYTES  # an offset of 0 means that an image is not stored
        self.lock = _SharedLock()

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            "dataset.cache: expected disk, got memory, which only forked worker processes (on Linux) can share: set it"
            " to disk, or set loader.num_workers to 0"
        )

    def get(self, index: int, version: SourceVersion) -> np.ndarray | None:
        """Return the image of this version of its source, read-only; None if this version is not stored."""
        offset = int(self.offsets.values[index])
        if not offset:
            return None
        header = unpack_header(self.memory[offset : offset + HEADER_BYTES])
        if header is None or header.source != digest_version(version):
            return None
        pixels = np.frombuffer(self.memory, np.uint8, header.pixel_bytes, offset + HEADER_BYTES)
        pixels.flags.writeable = False
        return pixels.reshape(header.shape)

    def put(self, index: int, version: SourceVersion, pixels: np.ndarray) -> None:
        """Store an image, unless the memory is full."""
        header = Header(digest_version(version), NO_CONTENT, pixels.shape)
        size = -(-(HEADER_BYTES + pixels.nbytes) // HEADER_BYTES) * HEADER_BYTES
        available = available_memory()
        if available is not None and available - size < self.kept_bytes:
            self.problem.record()
        if self.problem:
            return
        with self.lock.held():
            offset = int(self.end.values[0])
            if offset + size > self.capacity:
                self.problem.record()
                return
            self.end.values[0] = offset + size
        self.memory[offset : offset + HEADER_BYTES] = header.pack()
        start = offset + HEADER_BYTES
        np.frombuffer(self.memory, np.uint8, pixels.nbytes, start).reshape(pixels.shape)[...] = pixels
        self.offsets.values[index] = offset

    def count(self) -> int:
        """Return the number of images that are stored."""
        return int(np.count_nonzero(self.offsets.values))

    def stop_reason(self) -> str | None:
        """Return why no more images can be stored; None if they can."""
        return self.problem.describe("the memory for it is full") if self.problem else None


def _reserve(capacity: int) -> mmap.mmap:
    """Reserve memory that forked processes share, without allocating it."""
    try:
        if not hasattr(mmap, "MAP_ANONYMOUS"):  # Windows
            return mmap.mmap(-1, capacity)
        reserve = getattr(mmap, "MAP_NORESERVE", 0x4000 if os.uname().sysname == "Linux" else 0)  # Python 3.10 lacks it
        return mmap.mmap(-1, capacity, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | reserve)
    except OSError as error:
        raise ConfigError(
            f"cannot reserve {capacity / 1e9:.1f} GB of memory ({error.strerror}): set it to disk"
        ) from error


class _SharedLock:
    """A lock between threads and between forked processes; the system releases it when its process ends."""

    def __init__(self) -> None:
        self.threads = threading.Lock()
        self.file = tempfile.TemporaryFile() if fcntl else None  # noqa: SIM115  (open as long as the lock)

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.threads:
            if self.file is not None:
                fcntl.lockf(self.file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if self.file is not None:
                    fcntl.lockf(self.file, fcntl.LOCK_UN)
