"""Crops out of the corners. With the center, and all of them mirrored, they are the ten crops of evaluation.

Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012, 4.1.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ppzoo.data.transforms.pixels import room, width_height
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
CORNERS: tuple[Corner, ...] = get_args(Corner)


@TRANSFORMS.register
class CropCorner:
    """Cut out a corner.

    Args:
        size: side of a square, or [width, height].
        corner: which one, of `CORNERS`.

    Raises:
        ConfigError: there is no such corner.
        DataError: the image is smaller.
    """

    def __init__(self, *, size: int | list[int], corner: Corner) -> None:
        if corner not in CORNERS:
            raise ConfigError(f"CropCorner.corner: expected one of {', '.join(CORNERS)}, got {corner!r}")
        self.width, self.height = width_height("CropCorner.size", size)
        self.vertical, self.horizontal = corner.split("_")

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        rows, columns = room("CropCorner", image, self.width, self.height)
        top = 0 if self.vertical == "top" else rows
        left = 0 if self.horizontal == "left" else columns
        return image[top : top + self.height, left : left + self.width]
