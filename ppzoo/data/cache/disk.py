"""Decoded images on the disk, one file per image, for several runs and processes.

A file is written under a temporary name and renamed. It is not flushed to the disk, because that would take longer than
decoding. Files can therefore be damaged after a power failure; when a run first reads a file, it checks the digest, and
writes a damaged file again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from ppzoo.data.cache.entries import HEADER_BYTES, Header, digest_pixels, digest_version, unpack_header
from ppzoo.data.cache.shared import Problem, SharedVector
from ppzoo.data.datasets import SourceVersion
from ppzoo.errors import ConfigError, OutputError
from ppzoo.files import make_folder
from ppzoo.host import cache_home
from ppzoo.trusted_paths import find_untrusted_path

MIN_FREE_BYTES = 1 << 30  # stay free on the disk
ABANDONED_SECONDS = 3600  # a temporary file that is older was left by a process that was killed
TEMPORARY = "temporary"


class DiskCache:
    """Stores images by the path of their file, below `$PPZOO_HOME/images`.

    Args:
        key: key of the transforms that were applied (`transforms_key`); images of different keys are stored separately.
        count: number of images of the dataset.

    Raises:
        ConfigError: other users can write to the folder.
        OutputError: the folder cannot be written.
    """

    def __init__(self, key: str, count: int) -> None:
        self.folder = cache_home().absolute() / "images" / key
        self.location = str(self.folder)
        problem = find_untrusted_path(self.folder / TEMPORARY)
        if problem is not None:
            raise ConfigError(problem)
        try:
            make_folder(self.folder / TEMPORARY)
            with tempfile.TemporaryFile(dir=self.folder / TEMPORARY):
                pass
            _remove_abandoned(self.folder / TEMPORARY)
        except OSError as error:
            raise OutputError(self.folder, error) from error
        self.stored, self.problem = SharedVector(count, "uint8"), Problem()  # stored: 1 once written or verified

    def get(self, index: int, version: SourceVersion) -> np.ndarray | None:
        """Return the image of this version of its source; None if this version is not stored, or is damaged."""
        try:
            data = _read(self._path(version))
        except OSError:  # missing, or a bad sector: the image is decoded and stored again
            return None
        header = unpack_header(data[:HEADER_BYTES].data)
        if header is None or header.source != digest_version(version):
            return None
        if len(data) != HEADER_BYTES + header.pixel_bytes or not header.pixel_bytes:
            return None
        pixels = data[HEADER_BYTES:].reshape(header.shape)
        if not self.stored.values[index] and digest_pixels(pixels) != header.content:
            return None
        self.stored.values[index] = 1
        return pixels

    def put(self, index: int, version: SourceVersion, pixels: np.ndarray) -> None:
        """Store an image, unless the disk is full or cannot be written."""
        if self.problem:
            return
        header = Header(digest_version(version), digest_pixels(pixels), pixels.shape)
        try:
            if shutil.disk_usage(self.folder).free < MIN_FREE_BYTES + pixels.nbytes:
                self.problem.record()
                return
            self._write(self._path(version), header.pack(), pixels)
        except OSError as error:
            self.problem.record(error)
            return
        self.stored.values[index] = 1

    def count(self) -> int:
        """Return the number of images that are known to be stored."""
        return int(np.count_nonzero(self.stored.values))

    def stop_reason(self) -> str | None:
        """Return why no more images can be stored; None if they can."""
        return self.problem.describe("less than 1 GiB would stay free on the disk") if self.problem else None

    def _path(self, version: SourceVersion) -> str:
        """Return the path of an image; a new version of its source has the same path, and replaces the old one."""
        source = f"{version.offset} {version.path}".encode(errors="surrogateescape")
        name = hashlib.blake2b(source, digest_size=16).hexdigest()
        return f"{self.location}{os.sep}{name[:2]}{os.sep}{name[2:]}"

    def _write(self, path: str, header: bytes, pixels: np.ndarray) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder / TEMPORARY)
        try:
            with open(handle, "wb", buffering=0) as file:
                _write_all(file.fileno(), memoryview(header))
                _write_all(file.fileno(), pixels.data.cast("B"))
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            os.replace(temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def _read(path: str) -> np.ndarray:
    """Return the bytes of a file; fewer if the read is short, which `get` treats as damage."""
    with open(path, "rb", buffering=0) as file:
        data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
        return data[: file.readinto(data.data)]


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files that are old enough to be those of a process that was killed."""
    limit = time.time() - ABANDONED_SECONDS
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # another process removed or renamed it
            if file.stat().st_mtime < limit:
                file.unlink()
