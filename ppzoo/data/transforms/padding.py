"""Transforms that add a border to images."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ppzoo.data.transforms.pixels import check_at_least, check_output_size, parse_color, parse_size
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, DataError


@TRANSFORMS.register
class Pad:
    """Pad with a border of a given width.

    Args:
        padding: width of the border in pixels: one number for all sides, [left and right, top and bottom], or
            [left, top, right, bottom].
        fill: value of a constant border: one number, or one per channel.
        padding_mode: "constant"; "edge" repeats the outermost pixels, "reflect" mirrors without them, "symmetric"
            mirrors with them.
        backend: accepted for PaddleClas's configurations, without effect: both backends give the same pixels.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        *,
        padding: int | list[int],
        fill: int | list[int] = 0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
        backend: Literal["pil", "cv2"] = "pil",
    ) -> None:
        widths = [padding] if isinstance(padding, int) else list(padding)
        if len(widths) not in (1, 2, 4) or min(widths) < 0:
            raise ConfigError(f"Pad.padding: expected one, two or four widths of 0 or more, got {padding!r}")
        left, top, right, bottom = widths * (4 // len(widths))
        parse_size("Pad.padding", [left + right + 1, top + bottom + 1])
        self.widths = ((top, bottom), (left, right), (0, 0))
        self.fill, self.padding_mode = parse_color("Pad.fill", fill), padding_mode

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        (top, bottom), (left, right), _ = self.widths
        height, width, channels = image.shape
        check_output_size("Pad", width + left + right, height + top + bottom)
        if self.padding_mode != "constant":
            return np.pad(image, self.widths, self.padding_mode)
        padded = _filled((height + top + bottom, width + left + right, channels), self.fill, image.dtype)
        padded[top : top + height, left : left + width] = image
        return padded


@TRANSFORMS.register
class Padv2:
    """Pad to a given size, or to sides that are multiples of a number; the result is float32.

    Args:
        size: size of the result: the side of a square, or [width, height]; None: the next multiples of `size_divisor`.
        size_divisor: see `size`.
        pad_mode: position of the image: 0: upper left; 1: center; 2: lower right; -1: `offsets`.
        offsets: [left, top] of the image in the result, with `pad_mode` -1.
        fill_value: value of the border: one number, or one per channel; 127.5 by default.

    Raises:
        ConfigError: an option out of its range, or `offsets` with another `pad_mode`.
        DataError: the image is larger than the result.
    """

    def __init__(
        self,
        *,
        size: int | list[int] | None = None,
        size_divisor: int = 32,
        pad_mode: Literal[-1, 0, 1, 2] = 0,
        offsets: list[int] | None = None,
        fill_value: float | list[float] | None = None,
    ) -> None:
        if pad_mode not in (-1, 0, 1, 2):
            raise ConfigError(f"Padv2.pad_mode: expected -1, 0, 1 or 2, got {pad_mode!r}")
        if (pad_mode == -1) != (offsets is not None):
            raise ConfigError(
                f"Padv2: expected offsets with pad_mode -1 and only with it, got pad_mode {pad_mode} and offsets "
                f"{offsets!r}"
            )
        if offsets is not None and (len(offsets) != 2 or min(offsets) < 0):
            raise ConfigError(f"Padv2.offsets: expected [left, top] of 0 or more, got {offsets!r}")
        self.size = None if size is None else parse_size("Padv2.size", size)
        self.size_divisor = int(check_at_least("Padv2.size_divisor", size_divisor, 1))
        self.pad_mode, self.offsets = pad_mode, offsets
        self.fill = parse_color("Padv2.fill_value", 127.5 if fill_value is None else fill_value)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        height, width, channels = image.shape
        to_width, to_height = self.size or (self._multiple(width), self._multiple(height))
        check_output_size("Padv2", to_width, to_height)
        # Modes 0, 1 and 2 put none, half and all of the padding before the image.
        left, top = self.offsets or [total * self.pad_mode // 2 for total in (to_width - width, to_height - height)]
        if min(left, top) < 0 or width + left > to_width or height + top > to_height:
            raise DataError(
                f"Padv2: an image of {width} x {height} at ({left}, {top}) does not fit into {to_width} x {to_height} "
                "(width x height): put ResizeImage before Padv2, or increase the size of Padv2"
            )
        padded = _filled((to_height, to_width, channels), self.fill, np.dtype(np.float32))
        padded[top : top + height, left : left + width] = image
        return padded

    def _multiple(self, side: int) -> int:
        return math.ceil(side / self.size_divisor) * self.size_divisor


def _filled(shape: tuple[int, int, int], fill: tuple[float, ...], dtype: np.dtype) -> np.ndarray:
    """Return an H x W x C image of one color; a fourth channel is 0."""
    return np.full(shape, [*fill, 0][: shape[2]], dtype)
