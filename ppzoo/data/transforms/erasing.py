"""Transforms that erase parts of an image, before or after NormalizeImage; they do not modify their input."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image

from ppzoo.arithmetic import evaluate_arithmetic
from ppzoo.data.transforms.pixels import (
    MAX_OPERATIONS,
    channels_last,
    check_at_least,
    check_count,
    check_probability,
)
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, DataError

MAX_ATTEMPTS = 10_000


@TRANSFORMS.register
class RandomErasing:
    """Erase a random rectangle.

    Zhong et al.: "Random Erasing Data Augmentation", arXiv:1708.04896.
    A fourth channel is not erased.

    Args:
        EPSILON: probability of erasing. Like the next three options, a number, or arithmetic such as "1.0/3.0".
        sl: lowest area, as a fraction of the image's.
        sh: highest area, as a fraction of the image's.
        r1: lowest height / width; the highest is 1 / r1.
        mean: fill values, one per channel, with mode "const"; 0 by default.
        attempt: largest number of rectangles that are drawn until one fits; if none fits, the image is not changed.
        use_log_aspect: draw the logarithm of the aspect ratio uniformly, not the ratio itself.
        mode: how to fill the rectangle: "const": with `mean`; "rand": with one normally distributed value per channel;
            "pixel": with normal noise. "rand" and "pixel" need normalized images.

    Raises:
        ConfigError: an option out of its range.
        DataError: mode "rand" or "pixel" with a uint8 image.
    """

    takes_channels_first = True

    def __init__(
        self,
        *,
        EPSILON: float | str = 0.5,
        sl: float | str = 0.02,
        sh: float | str = 0.4,
        r1: float | str = 0.3,
        mean: list[float] | None = None,
        attempt: int = 100,
        use_log_aspect: bool = False,
        mode: Literal["const", "rand", "pixel"] = "const",
    ) -> None:
        self.probability = check_probability("RandomErasing.EPSILON", _number(EPSILON))
        self.area = (_number(sl), _number(sh))
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigError(f"RandomErasing: expected 0 < sl <= sh <= 1, got sl {sl!r} and sh {sh!r}")
        lowest = _number(r1)
        if not 0 < lowest <= 1:
            raise ConfigError(f"RandomErasing.r1: expected a number above 0 and at most 1, got {r1!r}")
        self.ratio = (math.log(lowest), -math.log(lowest)) if use_log_aspect else (lowest, 1 / lowest)
        self.use_log_aspect, self.mode = use_log_aspect, mode
        self.mean = [0.0, 0.0, 0.0] if mean is None else mean
        if len(self.mean) not in (1, 3):
            raise ConfigError(f"RandomErasing.mean: expected one value per channel, got {mean!r}")
        self.attempt = check_count("RandomErasing.attempt", attempt, 1, MAX_ATTEMPTS)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() > self.probability:
            return image
        height, width, channels = channels_last(image).shape
        for _ in range(self.attempt):
            area = random.uniform(*self.area) * height * width
            ratio = random.uniform(*self.ratio)
            if self.use_log_aspect:
                ratio = math.exp(ratio)
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h < height and w < width:
                top, left = (int(random.integers(most, endpoint=True)) for most in (height - h, width - w))
                erased = image.copy()
                part = channels_last(erased)[top : top + h, left : left + w, : min(channels, 3)]
                part[:] = self._fill_values(part, random)
                return erased
        return image

    def _fill_values(self, part: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if self.mode == "const":
            return np.array(self.mean[: part.shape[2]])
        if part.dtype == np.uint8:
            raise DataError(
                f"RandomErasing: expected normalized images with mode {self.mode}, got uint8: put it after "
                "NormalizeImage"
            )
        return random.normal(size=part.shape if self.mode == "pixel" else (1, 1, part.shape[2]))


def _number(value: float | str) -> float:
    return evaluate_arithmetic(value) if isinstance(value, str) else value


@TRANSFORMS.register
class Cutout:
    """Set squares around random pixels to 0; squares are clipped at the edge.

    DeVries, Taylor: "Improved Regularization of Convolutional Neural Networks with Cutout", arXiv:1708.04552.

    Args:
        n_holes: number of squares.
        length: side of the squares in pixels.
    """

    takes_channels_first = True

    def __init__(self, *, n_holes: int = 1, length: int = 112) -> None:
        self.n_holes = check_count("Cutout.n_holes", n_holes, 1, MAX_OPERATIONS)
        self.half = int(check_at_least("Cutout.length", length, 1)) // 2

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        cut = image.copy()
        pixels = channels_last(cut)
        for _ in range(self.n_holes):
            y, x = random.integers(pixels.shape[:2])
            pixels[max(y - self.half, 0) : y + self.half, max(x - self.half, 0) : x + self.half] = 0
        return cut


@TRANSFORMS.register
class HideAndSeek:
    """Divide the image into squares of 16, 32, 44 or 56 pixels (or not at all) and set each to 0 with probability 1/2.

    Singh, Lee: "Hide-and-Seek", arXiv:1704.04232. (PaddleClas, in its own recipe, takes height and width from the wrong
    axes of the images.)
    """

    takes_channels_first = True
    sides = (0, 16, 32, 44, 56)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        side = self.sides[random.integers(len(self.sides))]
        if not side:
            return image
        hidden = image.copy()
        pixels = channels_last(hidden)
        height, width = pixels.shape[:2]
        squares = random.random((-(-height // side), -(-width // side))) < 0.5
        pixels[squares.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]] = 0
        return hidden


@TRANSFORMS.register
class GridMask:
    """Set a grid of stripes with random spacing, offset and angle to 0.

    Chen et al.: "GridMask Data Augmentation", arXiv:2001.04086. The probability is the same in all epochs.
    (PaddleClas's probability increases with the epoch, but PaddleClas never sets the epoch and so changes no image.)

    Args:
        d1, d2: the spacing of the stripes in pixels is at least d1 and below d2.
        rotate: the angle is an integer number of degrees, at least 0 and below this.
        ratio: width of the stripes / their spacing, from 0 to 1.
        mode: 0: set the stripes to 0; 1: set the area between the stripes to 0.
        prob: probability of applying the mask.

    Raises:
        ConfigError: an option out of its range.
    """

    takes_channels_first = True

    def __init__(
        self,
        *,
        d1: int = 96,
        d2: int = 224,
        rotate: int = 1,
        ratio: float = 0.5,
        mode: Literal[0, 1] = 0,
        prob: float = 1.0,
    ) -> None:
        if not 1 <= d1 < d2:
            raise ConfigError(f"GridMask: expected 1 <= d1 < d2, got d1 {d1!r} and d2 {d2!r}")
        if mode not in (0, 1):
            raise ConfigError(f"GridMask.mode: expected 0 or 1, got {mode!r}")
        self.d1, self.d2, self.mode = d1, d2, mode
        self.rotate = int(check_at_least("GridMask.rotate", rotate, 1))
        self.ratio = check_probability("GridMask.ratio", ratio)
        self.prob = check_probability("GridMask.prob", prob)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() > self.prob:
            return image
        height, width = channels_last(image).shape[:2]
        spacing = int(random.integers(self.d1, self.d2))
        top, left = (int(start) for start in random.integers(spacing, size=2))
        kept = self.mask(height, width, spacing, top, left, int(random.integers(self.rotate)))
        masked = image.copy()
        channels_last(masked)[kept == self.mode] = 0
        return masked

    def mask(self, height: int, width: int, spacing: int, top: int, left: int, degrees: int) -> np.ndarray:
        """Return the H x W mask, 1 between the stripes and 0 on them: the center of a larger, rotated grid."""
        stripe = int(spacing * self.ratio + 0.5)
        large_height, large_width = int(1.5 * height), int(1.5 * width)
        rows = (np.arange(large_height) - top) % spacing >= stripe
        columns = (np.arange(large_width) - left) % spacing >= stripe
        grid = np.outer(rows, columns).astype(np.uint8)
        grid = np.asarray(Image.fromarray(grid).rotate(degrees))
        above, before = (large_height - height) // 2, (large_width - width) // 2
        return grid[above : above + height, before : before + width]
