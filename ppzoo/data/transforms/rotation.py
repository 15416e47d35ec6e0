"""Random rotations."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ppzoo.data.transforms.geometry import INTERPOLATIONS
from ppzoo.data.transforms.pixels import check_pixel_type, check_probability, parse_color
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.data.transforms.sample_labels import set_label
from ppzoo.errors import ConfigError, suggestion


@TRANSFORMS.register
class RandomRot90:
    """Rotate by 0, 90, 180 or 270 degrees counterclockwise with equal probability.

    The label "random_rot90_orientation" of `CustomLabelDataset` is the number of quarter turns, 0 to 3.
    """

    label_key = "random_rot90_orientation"

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        turns = int(random.integers(4))
        set_label(random, self.label_key, turns)
        return np.rot90(image, turns)


@TRANSFORMS.register
class RandomRotation:
    """Rotate by a random angle.

    Args:
        degrees: [lowest, highest] angle, counterclockwise; one number d: from -d to d.
        prob: probability of rotating.
        interpolation: as in `ResizeImage` with backend "cv2".
        expand: enlarge the result so that it contains the complete rotated image.
        center: [x, y] of the rotation center in pixels, not with `expand`; the image's center by default.
        fill: value of the uncovered area: one number, or one per channel.

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
                f"RandomRotation.degrees: expected a number of 0 or more, or [lowest, highest], got {degrees!r}"
            )
        codes = INTERPOLATIONS["cv2"]
        if interpolation not in codes:
            raise ConfigError(
                f"RandomRotation.interpolation: unknown {interpolation!r}{suggestion(interpolation, codes)}"
            )
        if center is not None and (len(center) != 2 or expand):
            raise ConfigError(
                f"RandomRotation.center: expected [x, y], without expand, got {center!r} with expand {expand}"
            )
        self.lowest, self.highest = bounds
        self.prob = check_probability("RandomRotation.prob", prob)
        self.code, self.expand, self.center = codes[interpolation], expand, center
        self.fill = parse_color("RandomRotation.fill", fill)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() >= self.prob:
            return image
        return self.rotate(image, random.uniform(self.lowest, self.highest))

    def rotate(self, image: np.ndarray, degrees: float) -> np.ndarray:
        """Rotate an image by an angle in degrees."""
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(self.center or (width / 2, height / 2), degrees, 1)
        if self.expand:
            to_width, to_height = _expanded_size(width, height, degrees)
            matrix[:, 2] += (to_width - width) / 2, (to_height - height) / 2
            width, height = to_width, to_height
        check_pixel_type(image, "RandomRotation")
        rotated = cv2.warpAffine(image, matrix, (width, height), flags=self.code, borderValue=self.fill)
        return rotated.reshape(height, width, image.shape[2])


def _expanded_size(width: int, height: int, degrees: float) -> tuple[int, int]:
    """Return width and height, in pixels, of the bounding box of the rotated image."""
    cosine, sine = (round(abs(f(math.radians(degrees))), 15) for f in (math.cos, math.sin))
    sides = width * cosine + height * sine, width * sine + height * cosine
    return tuple(  # type: ignore[return-value]
        math.ceil((old + new) / 2) - math.floor((old - new) / 2)
        for old, new in zip((width, height), sides, strict=True)
    )
