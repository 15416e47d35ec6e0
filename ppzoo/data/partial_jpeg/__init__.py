"""Decoding only the rows and columns of a JPEG that a crop needs, with the same pixels as decoding all of it.

The decoder is compiled by the first training run on a machine, and used from then on. Where it is not available,
OpenCV decodes the complete image.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable

import cv2
import numpy as np

from ppzoo.data.partial_jpeg.library import UnavailableError, open_library

logger = logging.getLogger("ppzoo")

SWITCH = "PPZOO_NATIVE"  # also of the native operators
MARGIN = 32  # columns around the crop, whose colors are interpolated with those of the next block

Bounds = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of an image; right and bottom are the first column and row outside."""


class _State:
    """The loaded decoder of this process; `is_final` once it is known that there is one, or none."""

    decode: Callable[..., int] | None = None
    is_final = False


def prepare() -> None:
    """Load the decoder, and compile it first if necessary; if it is not available, log the reason."""
    _load(compile_missing=True)


def is_available() -> bool:
    """Return whether the decoder can be used; it is loaded if it has been compiled before."""
    if not _State.is_final:
        _load(compile_missing=False)
    return _State.decode is not None


def decode_part(data: bytes, size: tuple[int, int], bounds: Bounds, divisor: int = 1) -> np.ndarray | None:
    """Decode a part of a JPEG to RGB; None if the decoder cannot decode it exactly as OpenCV does.

    Args:
        size: width and height of the result.
        bounds: the part that is needed, in pixels of the result.
        divisor: decode at 1 / `divisor` of the size of the file.

    Returns:
        H x W x 3 uint8, of which only the part is defined.
    """
    decode, (width, height), (left, top, right, bottom) = _State.decode, size, bounds
    if decode is None or not data.endswith(b"\xff\xd9"):  # a truncated file
        return None
    pixels = np.empty((height, width, 3), np.uint8)
    left, right = max(left - MARGIN, 0), min(right + MARGIN, width)
    failed = decode(data, len(data), divisor, left, top, right, bottom, width, height, pixels.ctypes.data)
    return None if failed else pixels


def _load(*, compile_missing: bool) -> None:
    if _State.decode is not None or (_State.is_final and not compile_missing):
        return
    if os.environ.get(SWITCH) == "off":
        _State.is_final = True
        return
    try:
        library = open_library(compile_missing=compile_missing)
    except UnavailableError as error:
        if not _State.is_final:
            logger.info("decoding complete JPEGs: decoding parts of them is not available: %s", error)
        _State.is_final = True
        return
    _State.is_final = True
    if library is None:
        return
    function = library.ppzoo_decode_jpeg
    function.argtypes = [
        *(ctypes.c_char_p, ctypes.c_ulong),
        *[ctypes.c_uint] * 7,
        ctypes.c_void_p,
    ]
    _State.decode = function
    if not _equals_opencv():
        _State.decode = None
        logger.info("decoding complete JPEGs: the libjpeg-turbo of Pillow gives other pixels than that of OpenCV")


def _equals_opencv() -> bool:
    """Return whether both decoders give the same pixels of a JPEG of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (75, 101, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    left, top, right, bottom = bounds = (35, 18, 60, 50)
    found = decode_part(data, (101, 75), bounds)
    part = slice(top, bottom), slice(left, right)
    return found is not None and expected is not None and np.array_equal(found[part], expected[part])
