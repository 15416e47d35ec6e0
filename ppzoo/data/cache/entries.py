"""The format of a cached image: a header with its shape and digests of its source and its pixels, then the pixels."""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import numpy as np

from ppzoo.data.datasets import SourceVersion

MAGIC = b"ppzimg1\0"
HEADER = struct.Struct("<8s16s16sIII")
HEADER_BYTES = 64  # the pixels that follow are aligned


class Header(NamedTuple):
    """The bytes before the pixels.

    Attributes:
        source: digest of the version of the source that was decoded.
        content: digest of the pixels; zeros in the memory cache.
        shape: height, width and channels.
    """

    source: bytes
    content: bytes
    shape: tuple[int, int, int]

    @property
    def pixel_bytes(self) -> int:
        """Number of bytes of the pixels."""
        height, width, channels = self.shape
        return height * width * channels

    def pack(self) -> bytes:
        """Return the header as `HEADER_BYTES` bytes."""
        return HEADER.pack(MAGIC, self.source, self.content, *self.shape).ljust(HEADER_BYTES, b"\0")


def unpack_header(data: bytes | memoryview) -> Header | None:
    """Return the header that `pack` returned; None for other bytes."""
    if len(data) < HEADER_BYTES:
        return None
    magic, source, content, *shape = HEADER.unpack_from(data)
    return Header(source, content, (shape[0], shape[1], shape[2])) if magic == MAGIC else None


def digest_version(version: SourceVersion) -> bytes:
    """Return the digest of a source's version, for the header."""
    return _digest(repr(tuple(version)).encode(errors="surrogateescape"))


def digest_pixels(pixels: np.ndarray) -> bytes:
    """Return the digest of C-contiguous pixels, for the header."""
    return _digest(pixels.data)


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
