"""Random changes of color and brightness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

from ppzoo.data.transforms.pixels import channels_last, check_at_least, check_probability, from_pil, to_pil
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, DataError


def shift_hue(image: Image.Image, turn: float) -> Image.Image:
    """Shift the hue (256 steps) by a fraction of the circle, from -0.5 to 0.5; gray images are not changed."""
    if image.mode == "L":
        return image
    hue, saturation, value = image.convert("HSV").split()
    steps = int(turn * 255) % 256
    return Image.merge("HSV", (hue.point([(h + steps) % 256 for h in range(256)]), saturation, value)).convert("RGB")


@TRANSFORMS.register
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, in random order.

    Args:
        prob: probability that anything is changed.
        brightness, contrast, saturation: [lowest, highest] factor, drawn uniformly; one number v: from max(0, 1 - v)
            to 1 + v.
        hue: [lowest, highest] shift of the hue as a fraction of the circle, within [-0.5, 0.5]; one number v: from -v
            to v.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        *,
        prob: float = 1.0,
        brightness: float | list[float] = 0.0,
        contrast: float | list[float] = 0.0,
        saturation: float | list[float] = 0.0,
        hue: float | list[float] = 0.0,
    ) -> None:
        self.prob = check_at_least("ColorJitter.prob", prob, 0)  # not limited to 1: PaddleClas's default is 2
        chosen: list[tuple[Callable[[Image.Image, float], Image.Image], tuple[float, float]]] = [
            (_brightness, _factors("brightness", brightness)),
            (_contrast, _factors("contrast", contrast)),
            (_saturation, _factors("saturation", saturation)),
            (shift_hue, _hue_shifts(hue)),
        ]
        self.changes = [(change, bounds) for change, bounds in chosen if bounds not in ((1.0, 1.0), (0.0, 0.0))]

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        if random.random() >= self.prob:
            return image
        for index in random.permutation(len(self.changes)):
            change, bounds = self.changes[index]
            pixels = change(pixels, random.uniform(*bounds))
        return from_pil(pixels)


def _brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _saturation(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _factors(name: str, value: float | list[float]) -> tuple[float, float]:
    bounds = [max(0.0, 1 - value), 1 + value] if isinstance(value, int | float) else list(value)
    if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1]:
        raise ConfigError(f"ColorJitter.{name}: expected a number of 0 or more, or [lowest, highest], got {value!r}")
    return float(bounds[0]), float(bounds[1])


def _hue_shifts(value: float | list[float]) -> tuple[float, float]:
    bounds = [-value, value] if isinstance(value, int | float) else list(value)
    if len(bounds) != 2 or not -0.5 <= bounds[0] <= bounds[1] <= 0.5:
        raise ConfigError(
            f"ColorJitter.hue: expected a number from 0 to 0.5, or [lowest, highest] within [-0.5, 0.5], got {value!r}"
        )
    return float(bounds[0]), float(bounds[1])


@TRANSFORMS.register
class RandomGrayscale:
    """Convert images to gray at random; the number of channels does not change.

    Args:
        p: probability of converting.
    """

    def __init__(self, *, p: float = 0.1) -> None:
        self.p = check_probability("RandomGrayscale.p", p)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        if random.random() >= self.p:
            return image
        return np.repeat(np.asarray(pixels.convert("L"))[:, :, np.newaxis], image.shape[2], axis=2)


# Principal components of ImageNet's colors, for pixels in [0, 1].
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045], np.float32)
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], np.float32
)
DEVIATION = 0.1  # standard deviation of the multiples of the components


@TRANSFORMS.register
class PCALighting:
    """Add random multiples of the principal components of ImageNet's colors to all pixels, after `NormalizeImage`.

    Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.
    It belongs after NormalizeImage, because its magnitude is for values around 1. The result is float32.

    Raises:
        DataError: an image without exactly three channels.
    """

    takes_channels_first = True

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        lit = image.astype(np.float32)
        pixels = channels_last(lit)
        if pixels.shape[2] != 3:
            raise DataError(
                f"PCALighting: expected three channels, got shape {image.shape}: remove it, or set "
                "NormalizeImage.channel_num to 3"
            )
        pixels += EIGENVECTORS @ (random.normal(0, DEVIATION, 3).astype(np.float32) * EIGENVALUES)
        return lit
