"""Random blur."""

from __future__ import annotations

import cv2
import numpy as np

from ppzoo.data.transforms.pixels import check_at_least, check_probability, to_pil
from ppzoo.data.transforms.registry import TRANSFORMS

SMALLEST_KERNEL = 5


@TRANSFORMS.register
class BlurImage:
    """Blur some of the images, half of these as by a shake of the camera, half with a Gaussian.

    The sides of the kernel are odd, from 5 up to below a maximum, each as likely. After a shake the values are spread
    over 0 to 255.

    Args:
        ratio: probability of blurring.
        motion_max_ksize, gaussian_max_ksize: bound of the kernel's side, above 5.
        motion_max_angle: largest angle of a shake in degrees.

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
            blurred = shake(image, int(side), int(random.integers(-self.motion_max_angle, self.motion_max_angle)))
        return blurred.reshape(image.shape)


def shake(image: np.ndarray, side: int, degrees: int) -> np.ndarray:
    """The mean along a line of `side` pixels, at `degrees` from the diagonal, spread over 0 to 255."""
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1)
    blurred = cv2.filter2D(image, -1, cv2.warpAffine(np.eye(side), turn, (side, side)) / side)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX)
