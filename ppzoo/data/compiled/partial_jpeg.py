"""Decoding only the rows and columns of a JPEG that a crop needs, with the same pixels as decoding all of it."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import cv2
import numpy as np

from ppzoo.data.compiled.library import loaded_library, logger
from ppzoo.data.compiled.resizing import Resizing, exact_library

Bounds = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of an image; right and bottom are the first column and row outside."""


def is_available() -> bool:
    """Return whether parts can be decoded."""
    library = loaded_library()
    return library is not None and _equals_opencv(library)


def decode_part(data: bytes, size: tuple[int, int], bounds: Bounds, divisor: int = 1) -> np.ndarray | None:
    """Decode a part of a JPEG to RGB; None if that is not possible with the same pixels as OpenCV's.

    Args:
        size: width and height of the result.
        bounds: the part that is needed, in pixels of the result.
        divisor: decode at 1 / `divisor` of the image's width and height.

    Returns:
        The complete image, H x W x 3 uint8, whose pixels outside `bounds` are undefined.
    """
    library, (width, height) = loaded_library(), size
    if library is None or _is_truncated(data):
        return None
    pixels = np.empty((height, width, 3), np.uint8)
    failed = library.ppzoo_decode_jpeg(data, len(data), divisor, *bounds, width, height, pixels.ctypes.data)
    return None if failed else pixels


def decode_resized(data: bytes, size: tuple[int, int], resizing: Resizing, divisor: int = 1) -> np.ndarray | None:
    """Decode and resize a part of a JPEG to RGB, row by row.

    Args:
        size: width and height of the decoded image.
        divisor: decode at 1 / `divisor` of the image's width and height.

    Returns:
        H x W x 3 uint8; None if the result would differ from that of OpenCV, or the size is not supported.
    """
    library = exact_library()
    if library is None or _is_truncated(data):
        return None
    pixels = resizing.allocate()
    failed = library.ppzoo_decode_resized(data, len(data), divisor, *size, resizing.pack(), pixels.ctypes.data)
    return None if failed else pixels


def _is_truncated(data: bytes) -> bool:
    return not data.endswith(b"\xff\xd9")


@lru_cache(maxsize=1)
def _equals_opencv(library: ctypes.CDLL) -> bool:
    """Return whether the compiled code and OpenCV decode a JPEG of noise to the same pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (75, 101, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    left, top, right, bottom = bounds = (35, 18, 60, 50)
    found = decode_part(data, (101, 75), bounds)
    part = slice(top, bottom), slice(left, right)
    if found is None or expected is None or not np.array_equal(found[part], expected[part]):
        logger.info("decoding complete JPEGs: the libjpeg-turbo of Pillow gives other pixels than that of OpenCV")
        return False
    return True
