"""Resizing and flipping. Sizes are rounded exactly as in PaddleClas."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ppzoo.data.compiled import resizing
from ppzoo.data.compiled.partial_jpeg import Bounds
from ppzoo.data.compiled.resizing import Resizing, complete_axis
from ppzoo.data.transforms.pixels import check_output_size, check_pixel_type, parse_size
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, suggestion

INTERPOLATIONS: dict[str, dict[str, int]] = {
    "cv2": {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos": cv2.INTER_LANCZOS4,
    },
    "pil": {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "box": Image.Resampling.BOX,
        "hamming": Image.Resampling.HAMMING,
        "lanczos": Image.Resampling.LANCZOS,
    },
}


class Resize:
    """Resizes H x W x C images with OpenCV (uint8 or float32) or Pillow (uint8, or float32 with one channel).

    When downsampling, Pillow's filters (except for "nearest") and OpenCV's "area" antialias, OpenCV's others do not.
    The default interpolation is that of the backend: bilinear with OpenCV, bicubic with Pillow.

    Raises:
        ConfigError: an unknown backend, or an interpolation that it does not have.
    """

    def __init__(self, interpolation: str | None, backend: str) -> None:
        self.backend = backend.lower()
        if self.backend not in INTERPOLATIONS:
            raise ConfigError(f"backend: expected 'cv2' or 'pil', got {backend!r}")
        table = INTERPOLATIONS[self.backend]
        name = (interpolation or {"cv2": "bilinear", "pil": "bicubic"}[self.backend]).lower()
        if name not in table:
            raise ConfigError(
                f"interpolation: backend {self.backend!r} has no {interpolation!r}{suggestion(name, table)}"
            )
        self.code = table[name]

    @property
    def is_bilinear(self) -> bool:
        """Whether this is OpenCV's bilinear interpolation."""
        return self.backend == "cv2" and self.code == cv2.INTER_LINEAR

    def __call__(self, image: np.ndarray, width: int, height: int) -> np.ndarray:
        if self.is_bilinear:
            rows, columns = image.shape[:2]
            axes = Resizing(complete_axis(0, columns, width), complete_axis(0, rows, height))
            compiled = resizing.resize(image, axes)
            if compiled is not None:
                return compiled
        check_pixel_type(image, "resizing", self.backend)
        if self.backend == "cv2":
            resized = cv2.resize(image, (width, height), interpolation=self.code)
        else:
            source = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
            resized = np.asarray(source.resize((width, height), self.code))
        return resized.reshape(height, width, image.shape[2])


class Window(NamedTuple):
    """A crop of an image, in pixels, and the (width, height) to which `resize` scales it."""

    left: float
    top: float
    width: float
    height: float
    size: tuple[int, int]
    resize: Resize

    def scaled(self, x: float, y: float) -> Window:
        """Return the same crop of an image scaled by `x` and `y`."""
        return self._replace(left=self.left * x, top=self.top * y, width=self.width * x, height=self.height * y)

    @property
    def bounds(self) -> Bounds:
        """The crop, with fractional coordinates rounded to pixels."""
        left, top = round(self.left), round(self.top)
        return left, top, max(round(self.left + self.width), left + 1), max(round(self.top + self.height), top + 1)

    @property
    def resizing(self) -> Resizing | None:
        """The crop and its size for compiled code; None if the interpolation is not OpenCV's bilinear."""
        if not self.resize.is_bilinear:
            return None
        check_output_size("ResizeImage", *self.size)
        (left, top, right, bottom), (width, height) = self.bounds, self.size
        return Resizing(complete_axis(left, right - left, width), complete_axis(top, bottom - top, height))

    def of(self, image: np.ndarray) -> np.ndarray:
        """Crop and resize an image; only its pixels within `bounds` are used."""
        check_output_size("ResizeImage", *self.size)
        left, top, right, bottom = self.bounds
        return self.resize(image[top:bottom, left:right], *self.size)


@TRANSFORMS.register
class ResizeImage:
    """Resize to a given size, or so that the shorter side has a given length.

    Args:
        size: side of a square, or [width, height], in pixels; either `size` or `resize_short` is required.
        resize_short: length of the shorter side in pixels; the other side is rounded to the nearest integer, halves to
            even.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos"; "area" (cv2); "box", "hamming" (pil);
            None: bilinear with cv2, bicubic with pil.
        backend: "cv2" (OpenCV) or "pil" (Pillow).
        return_numpy: accepted for PaddleClas's configurations, without effect: images are always arrays.

    Raises:
        ConfigError: not exactly one of `size` and `resize_short`, or a size that is not positive.
        DataError: an image so narrow that the result would have more than `MAX_PIXELS` pixels.
    """

    def __init__(
        self,
        *,
        size: int | list[int] | None = None,
        resize_short: int | None = None,
        interpolation: str | None = None,
        backend: str = "cv2",
        return_numpy: bool = True,
    ) -> None:
        if (size is None) == (resize_short is None):
            got = "neither" if size is None else "both"
            raise ConfigError(f"ResizeImage: expected either size or resize_short, got {got}")
        if resize_short is not None and resize_short < 1:
            raise ConfigError(f"ResizeImage.resize_short: expected a positive integer, got {resize_short}")
        self.size = None if size is None else parse_size("ResizeImage.size", size)
        if resize_short is not None:
            parse_size("ResizeImage.resize_short", resize_short)
        self.resize_short = resize_short or 0
        self.resize = Resize(interpolation, backend)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return self.window(image.shape[0], image.shape[1], random).of(image)

    def window(self, height: int, width: int, random: np.random.Generator) -> Window:
        """Return the window that covers a complete image of that size."""
        size = self.size
        if size is None:
            factor = self.resize_short / min(width, height)
            size = round(width * factor), round(height * factor)
        return Window(0, 0, width, height, size, self.resize)


@TRANSFORMS.register
class RandFlipImage:
    """Flip images with a probability of 1/2.

    Args:
        flip_code: 1: flip horizontally; 0: vertically; -1: both.
    """

    def __init__(self, *, flip_code: Literal[-1, 0, 1] = 1) -> None:
        if flip_code not in (-1, 0, 1):
            raise ConfigError(f"RandFlipImage.flip_code: expected 1, 0 or -1, got {flip_code!r}")
        self.flip_code = flip_code

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return self.flip(image) if self.draw(random) else image

    def draw(self, random: np.random.Generator) -> bool:
        """Draw whether to flip an image."""
        return bool(random.integers(2))

    def flip(self, image: np.ndarray) -> np.ndarray:
        """Return a flipped copy."""
        return cv2.flip(image, self.flip_code).reshape(image.shape)
