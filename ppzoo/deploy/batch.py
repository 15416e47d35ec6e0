"""The input of an inference engine: a batch of images, and the normalization that some engines do themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ppzoo.errors import ConfigError


class Batch:
    """The input buffer of an engine; several threads can fill it at the same time.

    Args:
        images: the buffer, N x the shape of one image.
        compute: runs the engine on the complete buffer and returns all its outputs.
    """

    def __init__(self, images: np.ndarray, compute: Callable[[np.ndarray], list[np.ndarray]]) -> None:
        self.images = images
        self._compute = compute

    def set_image(self, index: int, image: np.ndarray) -> None:
        """Copy an image into the buffer; some engines start computing it immediately."""
        self.images[index] = image

    def probabilities(self) -> np.ndarray:
        """Return N x class_num probabilities; call it after all images have been set."""
        return self.outputs()[0]

    def outputs(self) -> list[np.ndarray]:
        """Return the probabilities and, for an export with features, N x D features."""
        return self._compute(self.images)


class Normalization(NamedTuple):
    """Per-channel normalization of uint8 pixels: pixel * scale + shift.

    Attributes:
        scale, shift: one value per channel.
    """

    scale: np.ndarray
    shift: np.ndarray

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Convert N x H x W x C uint8 pixels to N x C x H x W float32."""
        return (pixels * self.scale + self.shift).astype(np.float32).transpose(0, 3, 1, 2)

    def require_channels(self, channels: int) -> None:
        """Check that the number of channels is that of the network.

        Args:
            channels: number of input channels of the network.

        Raises:
            ConfigError: it is another one.
        """
        if len(self.scale) != channels:
            raise ConfigError(f"NormalizeImage: expected mean and std of {channels} channels, got {len(self.scale)}")
