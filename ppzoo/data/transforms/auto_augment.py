"""AutoAugment and RandAugment as in PaddleClas."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ppzoo.data.transforms.operations import Fill, apply_operation, random_sign
from ppzoo.data.transforms.pixels import MAX_OPERATIONS, check_at_least, check_count, from_pil, parse_color, to_pil
from ppzoo.data.transforms.policies import IMAGENET, Step
from ppzoo.data.transforms.registry import TRANSFORMS

# Amounts of each operation at magnitudes 0 and 9. Those of translations are fractions of the side; the factor of a
# color operation is 1 plus or minus its amount.
RANGES = {
    **dict.fromkeys(("ShearX", "ShearY"), (0.0, 0.3)),
    **dict.fromkeys(("TranslateX", "TranslateY"), (0.0, 150 / 331)),
    **dict.fromkeys(("Color", "Contrast", "Sharpness", "Brightness"), (0.0, 0.9)),
    "Rotate": (0.0, 30.0),
    "Posterize": (8.0, 4.0),
    "Solarize": (256.0, 0.0),
    **dict.fromkeys(("AutoContrast", "Equalize", "Invert"), (0.0, 0.0)),
}


def apply_signed_operation(
    image: Image.Image, name: str, amount: float, fill: Fill, random: np.random.Generator
) -> Image.Image:
    """Apply an operation with an amount as in `RANGES`, with a random sign for shears, translations and colors."""
    if name.startswith("Shear"):
        return apply_operation(image, name, amount * random_sign(random), resample=Image.Resampling.BICUBIC, fill=fill)
    if name.startswith("Translate"):
        side = image.width if name == "TranslateX" else image.height
        return apply_operation(image, name, amount * side * random_sign(random), fill=fill)
    if name in ("Color", "Contrast", "Sharpness", "Brightness"):
        return apply_operation(image, name, 1 + amount * random_sign(random))
    return apply_operation(image, name, amount, fill=fill)


@TRANSFORMS.register
class AutoAugment:
    """Apply one of the 25 sub-policies of AutoAugment for ImageNet, drawn for each image: arXiv:1805.09501.

    Args:
        fillcolor: value of the area that shears, translations and rotations leave uncovered, one per channel; gray
            (128) by default.
    """

    def __init__(self, *, fillcolor: list[int] | None = None) -> None:
        self.fill = parse_color("AutoAugment.fillcolor", fillcolor or 128)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        for step in IMAGENET[random.integers(len(IMAGENET))]:
            if random.random() < step.probability:
                pixels = apply_signed_operation(pixels, step.operation, self.amount(step), self.fill, random)
        return from_pil(pixels)

    @staticmethod
    def amount(step: Step) -> float:
        """Return the amount of a step; bits are rounded, halves to even."""
        low, high = RANGES[step.operation]
        amount = low + (high - low) * step.magnitude / 9
        return round(amount) if step.operation == "Posterize" else amount


@TRANSFORMS.register
class RandAugment:
    """Apply random operations, all with the same magnitude.

    Cubuk et al.: "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", arXiv:1909.13719.

    Args:
        num_layers: number of operations, drawn with replacement.
        magnitude: strength of the operations, 0 or more; usually at most 10.
        fillcolor: value of the area that shears, translations and rotations leave uncovered, one per channel; gray
            (128) by default.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(self, *, num_layers: int = 2, magnitude: float = 5, fillcolor: list[int] | None = None) -> None:
        self.num_layers = check_count(f"{type(self).__name__}.num_layers", num_layers, 0, MAX_OPERATIONS)
        self.level = check_at_least(f"{type(self).__name__}.magnitude", magnitude, 0) / 10
        self.fill = parse_color(f"{type(self).__name__}.fillcolor", fillcolor or 128)
        self.amounts = self.amounts_at(self.level)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        names = list(self.amounts)
        for index in random.integers(len(names), size=self.num_layers):
            pixels = self.apply(pixels, names[index], random)
        return from_pil(pixels)

    def amounts_at(self, level: float) -> dict[str, float]:
        """Return the operations and their amounts at a magnitude of 10 x `level`."""
        amounts = {name: max(bounds) * level for name, bounds in RANGES.items()}
        return {**amounts, "Posterize": int(4 * level)}

    def apply(self, image: Image.Image, name: str, random: np.random.Generator) -> Image.Image:
        return apply_signed_operation(image, name, self.amounts[name], self.fill, random)


@TRANSFORMS.register
class RandAugmentV2(RandAugment):
    """RandAugment with the operations and strengths of EfficientNetV2: Tan, Le, arXiv:2104.00298.

    The amounts differ from `RandAugment`; rotations have a random sign; SolarizeAdd and Cutout are added.

    Args:
        num_layers, magnitude, fillcolor: see `RandAugment`.
    """

    def amounts_at(self, level: float) -> dict[str, float]:
        return {
            **dict.fromkeys(("ShearX", "ShearY"), 0.3 * level),
            **dict.fromkeys(("TranslateX", "TranslateY"), 100 * level),
            **dict.fromkeys(("Color", "Contrast", "Sharpness", "Brightness"), 1.8 * level + 0.1),
            "Rotate": 30 * level,
            "Posterize": int(4 * level),
            "Solarize": int(256 * level),
            "SolarizeAdd": int(110 * level),
            "Cutout": int(40 * level),
            **dict.fromkeys(("AutoContrast", "Equalize", "Invert"), 0),
        }

    def apply(self, image: Image.Image, name: str, random: np.random.Generator) -> Image.Image:
        amount = self.amounts[name]
        if name == "Cutout":
            return self._cut_out(image, int(amount), random)
        if name.startswith(("Shear", "Translate", "Rotate")):
            amount *= random_sign(random)
        return apply_operation(image, name, amount, fill=self.fill)

    def _cut_out(self, image: Image.Image, half: int, random: np.random.Generator) -> Image.Image:
        """Fill a square of side 2 x `half` around a random point, clipped at the edge."""
        pixels = np.array(image)
        y, x = (int(random.integers(side, endpoint=True)) for side in pixels.shape[:2])
        pixels[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = self.fill[0]
        return Image.fromarray(pixels)
