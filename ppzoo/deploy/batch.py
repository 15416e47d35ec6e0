"""The images of a batch on their way into an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Batch:
    """Images that are put one by one, by several threads at a time, and then answered together.

    Args:
        images: N x the shape of one, where they lie.
        compute: answers them, when all are there.
    """

    def __init__(self, images: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]) -> None:
        self.images = images
        self._compute = compute

    def put(self, index: int, image: np.ndarray) -> None:
        """Image number `index`, on which the engine may begin at once."""
        self.images[index] = image

    def probabilities(self) -> np.ndarray:
        """N x class_num, when all images have been put."""
        return self._compute(self.images)


class Normalization(NamedTuple):
    """byte * factors + summands, one of each a channel."""

    factors: np.ndarray
    summands: np.ndarray

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """N x H x W x C bytes to N x C x H x W float32."""
        return (pixels * self.factors + self.summands).astype(np.float32).transpose(0, 3, 1, 2)
