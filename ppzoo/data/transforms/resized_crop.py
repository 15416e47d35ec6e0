"""The center of a resized image, without resizing all of it: a fifth of the work where 256 pixels are cut to 224."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ppzoo.data.transforms.geometry import INTERPOLATIONS, CropImage, ResizeImage
from ppzoo.data.transforms.pixels import require_fit
from ppzoo.data.transforms.registry import Transform

MARGIN = 2  # pixels; a bilinear one is made of two


class ResizedCrop:
    """`ResizeImage` and the `CropImage` after it as one: the same pixels.

    What OpenCV makes of its pixels depends on the factor alone, not on what lies to the right of the crop or below it.
    """

    def __init__(self, resize: ResizeImage, crop: CropImage) -> None:
        self.resize, self.crop = resize, crop

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        height, width, channels = image.shape
        columns, rows = self.resize.window(height, width, random).size
        left, top = (columns - self.crop.width) // 2, (rows - self.crop.height) // 2
        if min(left, top) < 0:
            return self.crop(self.resize(image, random), random)
        right, bottom = left + self.crop.width, top + self.crop.height
        require_fit("ResizeImage", right, bottom)
        part = image[: _needed(bottom, height / rows, height), : _needed(right, width / columns, width)]
        code = self.resize.resize.code
        resized = cv2.resize(part, None, fx=columns / width, fy=rows / height, interpolation=code)
        return resized.reshape(*resized.shape[:2], channels)[top:bottom, left:right]


def join_resized_crops(transforms: Sequence[Transform]) -> list[Transform]:
    """The transforms, of which each bilinear resizing by OpenCV and the crop right after it have become one."""
    joined: list[Transform] = []
    for transform in transforms:
        if isinstance(transform, CropImage) and joined and _is_bilinear(joined[-1]):
            transform = ResizedCrop(joined.pop(), transform)  # type: ignore[arg-type]
        joined.append(transform)
    return joined


def _is_bilinear(transform: Transform) -> bool:
    if not isinstance(transform, ResizeImage):
        return False
    resize = transform.resize
    return resize.backend == "cv2" and resize.code == INTERPOLATIONS["cv2"]["bilinear"]


def _needed(pixels: int, step: float, available: int) -> int:
    """How many pixels of the image, `step` of which make one of the result, the first so many of those are made of."""
    return min(math.ceil(pixels * step) + MARGIN, available)
