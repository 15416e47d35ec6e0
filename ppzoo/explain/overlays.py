"""Draw heat maps over images."""

from __future__ import annotations

import cv2
import numpy as np

from ppzoo.errors import ConfigError

OPACITY = 0.5
UNSEEN = 0.3  # opacity, on white, of the part of an image that the network does not see


def overlay(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return the mean of an image and its heat map in the colors of viridis: dark purple is 0, yellow is 1.

    Args:
        image: H x W x 3, uint8 RGB.
        heatmap: values in [0, 1]; it is resized to the image by bilinear interpolation.

    Returns:
        H x W x 3, uint8 RGB.

    Raises:
        ConfigError: an array of another shape or type.
    """
    from matplotlib import colormaps  # slow to import

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ConfigError(f"image: expected an H x W x 3 uint8 array, got {list(image.shape)} {image.dtype}")
    if heatmap.ndim != 2 or not heatmap.size:
        raise ConfigError(f"heatmap: expected an array of shape H x W, got {list(heatmap.shape)}")
    height, width = image.shape[:2]
    resized = cv2.resize(heatmap.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colors = colormaps["viridis"](np.clip(resized, 0, 1))[..., :3] * 255
    return (image * (1 - OPACITY) + colors * OPACITY).round().astype(np.uint8)


def overlay_part(image: np.ndarray, heatmap: np.ndarray, part: tuple[float, float, float, float]) -> np.ndarray:
    """Return an image with the overlay of a heat map over a part of it; the rest is faded to white.

    Args:
        image: H x W x 3, uint8 RGB.
        heatmap: values in [0, 1], of the part.
        part: left, top, width and height of a rectangle in the image, in pixels; fractions are rounded.

    Returns:
        H x W x 3, uint8 RGB.
    """
    height, width = image.shape[:2]
    left, top = (min(max(round(start), 0), end - 1) for start, end in ((part[0], width), (part[1], height)))
    right, bottom = (
        min(max(round(start + length), first + 1), end)
        for start, length, first, end in ((part[0], part[2], left, width), (part[1], part[3], top, height))
    )
    faded = (image * UNSEEN + 255 * (1 - UNSEEN)).round().astype(np.uint8)
    faded[top:bottom, left:right] = overlay(image[top:bottom, left:right], heatmap)
    return faded
