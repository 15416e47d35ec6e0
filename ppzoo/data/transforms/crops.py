"""Crops beside those of `geometry`: a random place without resizing, and a share of the center."""

from __future__ import annotations

import numpy as np

from ppzoo.data.transforms.geometry import Resize
from ppzoo.data.transforms.pixels import check_at_least, room, width_height
from ppzoo.data.transforms.registry import TRANSFORMS


@TRANSFORMS.register
class RandCropImageV2:
    """Cut out a part of a given size at a random place.

    Every place is as likely. (PaddleClas's place may be one pixel beyond the edge, and its part then smaller.)

    Args:
        size: side of a square, or [width, height].

    Raises:
        DataError: the image is smaller.
    """

    def __init__(self, *, size: int | list[int]) -> None:
        self.width, self.height = width_height("RandCropImageV2.size", size)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        rows, columns = room("RandCropImageV2", image, self.width, self.height)
        top, left = random.integers(rows, endpoint=True), random.integers(columns, endpoint=True)
        return image[top : top + self.height, left : left + self.width]


@TRANSFORMS.register
class CropImageAtRatio:
    """Cut out a square in the center whose side is size / (size + pad) of the shorter one, and resize it.

    Args:
        size: side of the result.
        pad: what the side would have more, were the whole shorter side taken.
        interpolation: one of OpenCV's, as in `ResizeImage`.
    """

    def __init__(self, *, size: int, pad: int, interpolation: str = "bilinear") -> None:
        self.size = width_height("CropImageAtRatio.size", size)[0]
        self.ratio = size / (size + check_at_least("CropImageAtRatio.pad", pad, 0))
        self.resize = Resize(interpolation, "cv2")

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        side = max(int(self.ratio * min(height, width)), 1)
        top, left = (height - side) // 2, (width - side) // 2
        return self.resize(image[top : top + side, left : left + side], self.size, self.size)
