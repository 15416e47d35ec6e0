"""Random turns of images."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ppzoo.data.transforms.geometry import INTERPOLATIONS
from ppzoo.data.transforms.pixels import check_probability, color
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, suggestion


@TRANSFORMS.register
class RandomRot90:
    """Turn by 0, 90, 180 or 270 degrees, each as likely."""

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return np.rot90(image, int(random.integers(4)))


@TRANSFORMS.register
class RandomRotation:
    """Turn some of the images by a random angle around their center.

    Args:
        degrees: [lowest, highest] angle, counter-clockwise; one number: from its negative to it.
        prob: probability of turning.
        interpolation: one of OpenCV's, as in `ResizeImage`.
        expand: make the result large enough for the whole turned image.
        center: [x, y] to turn around; the center by default.
        fill: value of what the image does not cover, one or three.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        *,
        degrees: float | list[float],
        prob: float = 0.5,
        interpolation: str = "nearest",
        expand: bool = False,
        center: list[float] | None = None,
        fill: int | list[int] = 0,
    ) -> None:
        bounds = [-degrees, degrees] if isinstance(degrees, int | float) else list(degrees)
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            raise ConfigError(
                f"RandomRotation.degrees: expected a number from 0 on or [lowest, highest], got {degrees!r}"
            )
        codes = INTERPOLATIONS["cv2"]
        if interpolation not in codes:
            raise ConfigError(
                f"RandomRotation.interpolation: unknown {interpolation!r}{suggestion(interpolation, codes)}"
            )
        if center is not None and (len(center) != 2 or expand):
            raise ConfigError(
                "RandomRotation.center: expected [x, y], and expand False; expand turns around the center"
            )
        self.lowest, self.highest = bounds
        self.prob = check_probability("RandomRotation.prob", prob)
        self.code, self.expand, self.center = codes[interpolation], expand, center
        self.fill = color("RandomRotation.fill", fill)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() >= self.prob:
            return image
        return self.turn(image, random.uniform(self.lowest, self.highest))

    def turn(self, image: np.ndarray, degrees: float) -> np.ndarray:
        """The image turned by an angle."""
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(self.center or (width / 2, height / 2), degrees, 1)
        if self.expand:
            to_width, to_height = _extent(width, height, degrees)
            matrix[:, 2] += (to_width - width) / 2, (to_height - height) / 2
            width, height = to_width, to_height
        turned = cv2.warpAffine(image, matrix, (width, height), flags=self.code, borderValue=self.fill)
        return turned.reshape(height, width, image.shape[2])


def _extent(width: int, height: int, degrees: float) -> tuple[int, int]:
    """Sides of what covers a turned image, in whole pixels of its own grid."""
    cosine, sine = (round(abs(f(math.radians(degrees))), 15) for f in (math.cos, math.sin))
    sides = width * cosine + height * sine, width * sine + height * cosine
    return tuple(  # type: ignore[return-value]
        math.ceil((old + new) / 2) - math.floor((old - new) / 2)
        for old, new in zip((width, height), sides, strict=True)
    )
