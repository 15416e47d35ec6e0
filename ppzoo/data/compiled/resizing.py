"""Resizing RGB images, bit-identical to OpenCV's bilinear interpolation, in memory or while a JPEG is decoded."""

from __future__ import annotations

import ctypes
import struct
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from ppzoo.data.compiled.library import loaded_library, logger

AXES = struct.Struct("d6id6i")  # two `Axis` of resizer.h


class Axis(NamedTuple):
    """One axis of a resizing.

    Attributes:
        scale: input pixels per output pixel.
        origin, length: first pixel and number of pixels of the input that OpenCV would get.
        first, outputs: first pixel and number of pixels of the part of OpenCV's output that is computed.
        begin, end: the input pixels that can be read, from `begin` to before `end`.
    """

    scale: float
    origin: int
    length: int
    first: int
    outputs: int
    begin: int
    end: int


class Resizing(NamedTuple):
    """A bilinear resizing of a part of an image."""

    horizontal: Axis
    vertical: Axis

    def pack(self) -> bytes:
        """Return the axes as the compiled code reads them."""
        return AXES.pack(*self.horizontal, *self.vertical)

    def allocate(self) -> np.ndarray:
        """Return an array for the result."""
        return np.empty((self.vertical.outputs, self.horizontal.outputs, 3), np.uint8)


def complete_axis(origin: int, length: int, outputs: int) -> Axis:
    """Return the axis that resizes the `length` pixels that begin at `origin` to `outputs` pixels."""
    return Axis(1 / (outputs / length), origin, length, 0, outputs, origin, origin + length)


def resize(image: np.ndarray, resizing: Resizing) -> np.ndarray | None:
    """Resize an H x W x 3 uint8 image; None if the compiled code is not available or does not support the image."""
    library = exact_library()
    if library is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        return None
    if image.strides[1:] != (3, 1) or image.strides[0] < 0:
        return None
    if resizing.vertical.end > image.shape[0] or resizing.horizontal.end > image.shape[1]:
        return None
    result = resizing.allocate()
    failed = library.ppzoo_resize(image.ctypes.data, image.strides[0], resizing.pack(), result.ctypes.data)
    return None if failed else result


def exact_library() -> ctypes.CDLL | None:
    """Return the compiled code if it is available and resizes as OpenCV does."""
    library = loaded_library()
    return library if library is not None and _equals_opencv(library) else None


@lru_cache(maxsize=1)
def _equals_opencv(library: ctypes.CDLL) -> bool:
    """Return whether the compiled code and OpenCV give the same pixels for enlarged, reduced and narrowed images."""
    noise = np.random.default_rng(0).integers(0, 256, (75, 101, 3), np.uint8)
    for width, height in ((64, 64), (224, 31), (50, 150), (101, 75)):
        expected = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        if not _resizes_to(library, noise, width, height, expected):
            return False
    width, height = 71, 47
    expected = cv2.resize(noise, None, fx=width / 101, fy=height / 75, interpolation=cv2.INTER_LINEAR)
    return _resizes_to(library, noise, width, height, expected)


def _resizes_to(library: ctypes.CDLL, image: np.ndarray, width: int, height: int, expected: np.ndarray) -> bool:
    resizing = Resizing(complete_axis(0, image.shape[1], width), complete_axis(0, image.shape[0], height))
    found = resizing.allocate()
    if library.ppzoo_resize(image.ctypes.data, image.strides[0], resizing.pack(), found.ctypes.data):
        return False  # the processor is not supported
    if np.array_equal(found, expected):
        return True
    logger.info("resizing with OpenCV: the compiled code and this version of OpenCV give different pixels")
    return False
