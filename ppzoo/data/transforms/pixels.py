"""What several transforms share: views of an image, the way to Pillow and back, and checks of options."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ppzoo.errors import ConfigError, DataError
from ppzoo.host import MAX_PIXELS


def channels_last(image: np.ndarray) -> np.ndarray:
    """A view of an image as H x W x C, whether its channels come last or first."""
    return image if image.shape[2] <= 4 else image.transpose(1, 2, 0)


def to_pil(image: np.ndarray, transform: object) -> Image.Image:
    """An H x W x 1 or H x W x 3 array of bytes as a Pillow image, for `transform`, which errors name.

    Raises:
        DataError: the array is something else.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise DataError(
            f"{type(transform).__name__}: expected an H x W x 3 array of bytes, got the shape {image.shape} and "
            f"the type {image.dtype}: put it before NormalizeImage"
        )
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image))


def from_pil(image: Image.Image) -> np.ndarray:
    """A Pillow image as H x W x C."""
    return np.asarray(image).reshape(image.height, image.width, -1)


def check_probability(name: str, value: float) -> float:
    """`value`, which must be in [0, 1]."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}: expected a probability from 0 to 1, got {value!r}")
    return value


def check_at_least(name: str, value: float, least: float) -> float:
    """`value`, which must not be below `least`."""
    if not value >= least:
        raise ConfigError(f"{name}: expected at least {least}, got {value!r}")
    return value


def color(name: str, value: float | list[int] | list[float]) -> tuple[float, float, float]:
    """One value a channel, from three or from one for all."""
    values = [value] * 3 if isinstance(value, int | float) else list(value)
    if len(values) != 3:
        raise ConfigError(f"{name}: expected a number or three, got {value!r}")
    return values[0], values[1], values[2]


def width_height(name: str, size: int | list[int]) -> tuple[int, int]:
    """The two sides that one number or a [width, height] list stands for."""
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"{name}: expected a positive number or [width, height], got {size!r}")
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ConfigError(f"{name}: expected at most {MAX_PIXELS} pixels, got {sides[0]} x {sides[1]}")
    return sides[0], sides[1]


def require_fit(name: str, width: int, height: int) -> None:
    """
    Raises:
        DataError: the transform `name` would make an image that is too large of the one that it received.
    """
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: expected to make an image of at most {MAX_PIXELS} pixels, not {width} x {height}")


def room(name: str, image: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Rows and columns that an H x W x C image has beyond a part of that size, which the transform `name` cuts out.

    Raises:
        DataError: the image is smaller.
    """
    rows, columns = image.shape[0] - height, image.shape[1] - width
    if min(rows, columns) < 0:
        raise DataError(
            f"{name} of {width} x {height} does not fit into an image of {image.shape[1]} x {image.shape[0]} "
            "(width x height): put a ResizeImage or Pad before it or take a smaller size"
        )
    return rows, columns
