"""Random blur."""

from __future__ import annotations

import cv2
import numpy as np

from ppzoo.data.transforms.pixels import check_at_least, check_probability, to_pil
from ppzoo.data.transforms.registry import TRANSFORMS

SMALLEST_KERNEL = 5


@TRANSFORMS.register
class BlurImage:
    """Blur images, with equal probability by motion blur or Gaussian blur.

    The kernel sizes are odd, at least 5 and below a maximum, with equal probability. After motion blur the values are
    stretched to [0, 255].

    Args:
        ratio: probability of blurring.
        motion_max_ksize, gaussian_max_ksize: kernel sizes are below this; at least 6.
        motion_max_angle: largest angle of the motion in degrees.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        *,
        ratio: float = 0.5,
        motion_max_ksize: int = 12,
        motion_max_angle: int = 45,
        gaussian_max_ksize: int = 12,
    ) -> None:
        least = SMALLEST_KERNEL + 1
        self.ratio = check_probability("BlurImage.ratio", ratio)
        self.motion_max_ksize = int(check_at_least("BlurImage.motion_max_ksize", motion_max_ksize, least))
        self.gaussian_max_ksize = int(check_at_least("BlurImage.gaussian_max_ksize", gaussian_max_ksize, least))
        self.motion_max_angle = int(check_at_least("BlurImage.motion_max_angle", motion_max_angle, 1))

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        to_pil(image, self)
        if random.random() > self.ratio:
            return image
        if random.integers(2):
            sides = random.choice(np.arange(SMALLEST_KERNEL, self.gaussian_max_ksize, 2), 2)
            blurred = cv2.GaussianBlur(image, (int(sides[0]), int(sides[1])), 0)
        else:
            side = random.choice(np.arange(SMALLEST_KERNEL, self.motion_max_ksize, 2))
            blurred = motion_blur(image, int(side), int(random.integers(-self.motion_max_angle, self.motion_max_angle)))
        return blurred.reshape(image.shape)


def motion_blur(image: np.ndarray, side: int, degrees: int) -> np.ndarray:
    """Average along a line of `side` pixels, at `degrees` from the diagonal, and stretch the values to [0, 255]."""
    rotation = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1)
    blurred = cv2.filter2D(image, -1, cv2.warpAffine(np.eye(side), rotation, (side, side)) / side)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX)
