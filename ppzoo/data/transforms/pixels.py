"""Helpers of the transforms: array layout, conversion to and from Pillow, and option checks."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ppzoo.errors import ConfigError, DataError
from ppzoo.host import MAX_PIXELS

MAX_CHANNELS = 4  # of an image; `DecodeImage` makes no more


def channels_last(image: np.ndarray) -> np.ndarray:
    """Return a view of an image as H x W x C; images whose last axis is longer than 4 are taken as C x H x W."""
    return image if image.shape[2] <= MAX_CHANNELS else image.transpose(1, 2, 0)


def check_pixel_type(image: np.ndarray, transform: str, backend: str = "cv2") -> None:
    """Check that `backend` ("cv2" or "pil") can resize or rotate an image; errors name `transform`.

    Raises:
        DataError: its data type is float16, or with Pillow and several channels, not uint8.
    """
    if image.dtype == np.float16 or (backend == "pil" and image.dtype != np.uint8 and image.shape[2] != 1):
        expected = "uint8 or float32" if backend == "cv2" else "uint8"
        raise DataError(
            f"{transform}: expected {expected} pixels with the backend {backend}, got {image.dtype}: put the transform"
            " before NormalizeImage"
        )


def to_pil(image: np.ndarray, transform: object) -> Image.Image:
    """Convert an H x W x 1 or H x W x 3 uint8 array to a Pillow image; errors name `transform`.

    Raises:
        DataError: the array has another shape or data type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise DataError(
            f"{type(transform).__name__}: expected an H x W x 1 or H x W x 3 uint8 image, got shape {image.shape} and"
            f" data type {image.dtype}: put the transform before NormalizeImage"
        )
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image))


def from_pil(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image to an H x W x C array."""
    return np.asarray(image).reshape(image.height, image.width, -1)


def check_probability(name: str, value: float) -> float:
    """Return `value`; raise ConfigError unless it is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}: expected a probability from 0 to 1, got {value!r}")
    return value


def check_at_least(name: str, value: float, least: float) -> float:
    """Return `value`; raise ConfigError if it is below `least`."""
    if not value >= least:
        raise ConfigError(f"{name}: expected {least} or more, got {value!r}")
    return value


def check_count(name: str, value: float, least: int, most: int) -> int:
    """Return a number of operations, or a size, as an integer.

    Raises:
        ConfigError: it is not in [least, most]; with a larger one, a single image would take minutes or all memory.
    """
    if not least <= value <= most:
        raise ConfigError(f"{name}: expected a number from {least} to {most}, got {value!r}")
    return int(value)


MAX_OPERATIONS = 1000  # of an augmentation, per image


def parse_color(name: str, value: float | list[int] | list[float]) -> tuple[float, float, float]:
    """Return one value per channel, from a list of three values or one number for all channels.

    Raises:
        ConfigError: another number of values.
    """
    values = [value] * 3 if isinstance(value, int | float) else list(value)
    if len(values) != 3:
        raise ConfigError(f"{name}: expected one number or three, got {value!r}")
    return values[0], values[1], values[2]


def parse_size(name: str, size: int | list[int]) -> tuple[int, int]:
    """Return (width, height) from the side of a square or a [width, height] list.

    Raises:
        ConfigError: a side below 1, another number of sides, or more than `MAX_PIXELS` pixels.
    """
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"{name}: expected a positive integer or [width, height], got {size!r}")
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ConfigError(f"{name}: expected at most {MAX_PIXELS} pixels, got {sides[0]} x {sides[1]}")
    return sides[0], sides[1]


def check_output_size(name: str, width: int, height: int) -> None:
    """Check the size of the image that the transform `name` returns.

    Raises:
        DataError: it has more than `MAX_PIXELS` pixels.
    """
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: expected a result of at most {MAX_PIXELS} pixels, got {width} x {height}")


def crop_margins(name: str, image: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Return (rows, columns) of an H x W x C image that remain outside a crop of `width` x `height`.

    Args:
        name: name of the transform, for errors.

    Raises:
        DataError: the image is smaller than the crop.
    """
    rows, columns = image.shape[0] - height, image.shape[1] - width
    if min(rows, columns) < 0:
        raise DataError(
            f"{name}: expected an image of at least {width} x {height} (width x height), got {image.shape[1]} x "
            f"{image.shape[0]}: put ResizeImage or Pad before this transform, or reduce the size of the crop"
        )
    return rows, columns
