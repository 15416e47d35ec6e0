"""FMix: images mixed by masks that are thresholded low-frequency noise."""

from __future__ import annotations

import math

import numpy as np

from ppzoo.data.batch_transforms.registry import BATCH_TRANSFORMS, check_alpha, mix_labels, soft_labels
from ppzoo.errors import ConfigError


@BATCH_TRANSFORMS.register
class FmixOperator:
    """Mix each image of a batch with another one; all use the same random mask, whose mean is beta-distributed.

    Harris et al.: "FMix: Enhancing Mixed Sample Data Augmentation", arXiv:2002.12047.

    Args:
        class_num: number of classes.
        alpha: parameter of the beta distribution, above 0.
        decay_power: the mask is thresholded noise, whose spectrum is divided by the frequency to this power; a larger
            power gives smoother outlines.
        max_soft: width of the soft edge in which the mask decreases from 1 to 0: on each side of the outline, it takes
            at most this fraction of the image's area, 0 to 0.5.
        reformulate: draw the mean from Beta(alpha + 1, alpha) instead of Beta(alpha, alpha).

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        *,
        class_num: int,
        alpha: float = 1.0,
        decay_power: float = 3.0,
        max_soft: float = 0.0,
        reformulate: bool = False,
    ) -> None:
        self.class_num, self.alpha = class_num, check_alpha("FmixOperator", alpha)
        if not 0 <= max_soft <= 0.5:
            raise ConfigError(f"FmixOperator.max_soft: expected a number from 0 to 0.5, got {max_soft!r}")
        self.decay_power, self.max_soft, self.reformulate = decay_power, max_soft, reformulate

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        order = random.permutation(len(images))
        share = float(random.beta(self.alpha + self.reformulate, self.alpha))
        height, width = images.shape[2:]
        mask = self.mask(height, width, share, random).astype(images.dtype)
        soft = soft_labels(labels, self.class_num)
        others = images[order]
        others *= 1 - mask
        images *= mask
        images += others
        return images, mix_labels(soft, soft[order], float(mask.mean(dtype=np.float64)))

    def mask(self, height: int, width: int, share: float, random: np.random.Generator) -> np.ndarray:
        """Return an H x W mask: 1 on `share` of the area, where the noise is highest, 0 on the rest; see `max_soft`."""
        descending = np.argsort(low_frequency_noise(height, width, self.decay_power, random), axis=None)[::-1]
        size = len(descending)
        ones = math.ceil(share * size) if random.integers(2) else math.floor(share * size)
        margin = int(size * min(self.max_soft, share, 1 - share))
        first, last = max(ones - margin, 0), min(ones + margin, size)
        mask = np.zeros(size)
        mask[descending[:first]] = 1
        mask[descending[first:last]] = np.linspace(1, 0, last - first)
        return mask.reshape(height, width)


def low_frequency_noise(height: int, width: int, decay_power: float, random: np.random.Generator) -> np.ndarray:
    """Return H x W normal noise whose spectrum is divided by the frequency to the power `decay_power`."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    real, imaginary = random.normal(size=(2, *frequency.shape))
    spectrum = (real + 1j * imaginary) / np.maximum(frequency, 1 / max(height, width)) ** decay_power
    return np.fft.irfft2(spectrum, (height, width))
