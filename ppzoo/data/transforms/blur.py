"""Random blur."""

from __future__ import annotations

import cv2
import numpy as np

from ppzoo.data.transforms.pixels import check_at_least, check_count, check_probability, to_pil
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.data.transforms.sample_labels import set_label

SMALLEST_KERNEL = 5
LARGEST_KERNEL = 1000


@TRANSFORMS.register
class BlurImage:
    """Blur images, with equal probability by motion blur or Gaussian blur.

    The kernel sizes are odd, at least 5 and below a maximum, with equal probability. After motion blur, the values of
    uint8 images are stretched to [0, 255], and those of normalized images to the range that they had before.
    (PaddleClas stretches normalized images to [0, 255], too, so that a network can recognize motion blur by the range
    alone.) The label "blur_image" of `CustomLabelDataset` is 1 for a blurred image, else 0.

    Args:
        ratio: probability of blurring.
        motion_max_ksize, gaussian_max_ksize: upper limit of the kernel size in pixels, 6 or more; kernels are smaller.
        motion_max_angle: largest angle between the direction of the motion and the diagonal (45 degrees), in degrees.

    Raises:
        ConfigError: an option out of its range.
    """

    label_key = "blur_image"

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
        self.motion_max_ksize = check_count("BlurImage.motion_max_ksize", motion_max_ksize, least, LARGEST_KERNEL)
        self.gaussian_max_ksize = check_count("BlurImage.gaussian_max_ksize", gaussian_max_ksize, least, LARGEST_KERNEL)
        self.motion_max_angle = int(check_at_least("BlurImage.motion_max_angle", motion_max_angle, 1))

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if image.dtype != np.float32:
            to_pil(image, self)  # checks the shape and the data type
        is_blurred = random.random() <= self.ratio
        set_label(random, self.label_key, int(is_blurred))
        if not is_blurred:
            return image
        if random.integers(2):
            sides = random.choice(np.arange(SMALLEST_KERNEL, self.gaussian_max_ksize, 2), 2)
            blurred = cv2.GaussianBlur(image, (int(sides[0]), int(sides[1])), 0)
        else:
            side = random.choice(np.arange(SMALLEST_KERNEL, self.motion_max_ksize, 2))
            blurred = motion_blur(image, int(side), int(random.integers(-self.motion_max_angle, self.motion_max_angle)))
        return blurred.reshape(image.shape)


def motion_blur(image: np.ndarray, side: int, degrees: int) -> np.ndarray:
    """Average along a line of `side` pixels, at `degrees` from the diagonal, and stretch the values.

    They are stretched to [0, 255] if the image is uint8, else to the range that the image has before.
    """
    rotation = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1)
    blurred = cv2.filter2D(image, -1, cv2.warpAffine(np.eye(side), rotation, (side, side)) / side)
    lowest, highest = (0.0, 255.0) if image.dtype == np.uint8 else (float(image.min()), float(image.max()))
    return cv2.normalize(blurred, None, lowest, highest, cv2.NORM_MINMAX)
