"""AugMix: chains of operations applied to an image, mixed with each other and with the image.

Hendrycks et al.: "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty", arXiv:1912.02781.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from ppzoo.data.transforms.operations import apply_operation, random_sign
from ppzoo.data.transforms.pixels import MAX_OPERATIONS, check_count, check_probability, to_pil
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError

OPERATIONS = (
    *("AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)
DEPTHS = (1, 2, 3)


def draw_mixture(alpha: float, width: int, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Draw the weights of `width` chains (Dirichlet distribution) and the weight of all chains (beta distribution)."""
    return random.dirichlet([alpha] * width).astype(np.float32), float(np.float32(random.beta(alpha, alpha)))


def mix_chains(
    image: Image.Image,
    weights: np.ndarray,
    depth: int,
    link: Callable[[Image.Image], Image.Image],
    random: np.random.Generator,
) -> np.ndarray:
    """Return the weighted sum of chains of operations applied to an image, as float64.

    Args:
        weights: weight of each chain.
        depth: operations per chain; below 1: one to three at random.
        link: applies one random operation.
    """
    total = np.zeros(np.asarray(image).shape)
    for weight in weights:
        part = image
        for _ in range(depth if depth > 0 else random.choice(DEPTHS)):
            part = link(part)
        total += weight * np.asarray(part, np.float32)
    return total


@TRANSFORMS.register
class AugMix:
    """Mix an image with the results of several chains of random operations: AugMix, arXiv:1912.02781.

    Args:
        prob: probability of mixing.
        aug_prob_coeff: parameter of the Dirichlet and beta distributions of the mixing weights, above 0.
        mixture_width: number of chains.
        mixture_depth: operations per chain; -1: one to three at random.
        aug_severity: largest magnitude of the operations, from 0.1 to 10; magnitudes are drawn uniformly from 0.1 on.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        *,
        prob: float = 0.5,
        aug_prob_coeff: float = 0.1,
        mixture_width: int = 3,
        mixture_depth: int = 1,
        aug_severity: float = 1,
    ) -> None:
        self.prob = check_probability("AugMix.prob", prob)
        if not aug_prob_coeff > 0:
            raise ConfigError(f"AugMix.aug_prob_coeff: expected a number above 0, got {aug_prob_coeff!r}")
        if not 0.1 <= aug_severity <= 10:
            raise ConfigError(f"AugMix.aug_severity: expected a number from 0.1 to 10, got {aug_severity!r}")
        self.alpha, self.severity = aug_prob_coeff, aug_severity
        self.width = check_count("AugMix.mixture_width", mixture_width, 1, MAX_OPERATIONS)
        self.depth = check_count("AugMix.mixture_depth", mixture_depth, -1, MAX_OPERATIONS)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        if random.random() > self.prob:
            return image
        weights, share = draw_mixture(self.alpha, self.width, random)
        chains = mix_chains(pixels, weights, self.depth, lambda part: self._apply_random(part, random), random)
        share32 = np.float32(share)
        return ((1 - share32) * image + share * chains.reshape(image.shape)).astype(np.uint8)

    def _apply_random(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        name = OPERATIONS[random.integers(len(OPERATIONS))]
        level = random.uniform(0.1, self.severity) / 10
        return apply_operation(
            image, name, self._amount(name, level, image, random), resample=Image.Resampling.BILINEAR, fill=(0, 0, 0)
        )

    @staticmethod
    def _amount(name: str, level: float, image: Image.Image, random: np.random.Generator) -> float:
        """Return the amount of an operation at a level from 0.01 to 1; an integer except for shears."""
        if name == "Posterize":
            return 4 - int(level * 4)
        if name == "Solarize":
            return 256 - int(level * 256)
        if name.startswith("Shear"):
            return level * 0.3 * random_sign(random)
        if name == "Rotate":
            return int(level * 30) * random_sign(random)
        if name.startswith("Translate"):
            return int(level * (image.width if name == "TranslateX" else image.height) / 3) * random_sign(random)
        return 0
