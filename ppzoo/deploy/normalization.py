"""What becomes of a byte of each channel before the network, so that an engine can do it by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Normalization(NamedTuple):
    """byte * factors + summands, one of each a channel."""

    factors: np.ndarray
    summands: np.ndarray

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """N x H x W x C bytes to N x C x H x W float32."""
        return (pixels * self.factors + self.summands).astype(np.float32).transpose(0, 3, 1, 2)
