"""AutoAugment and RandAugment as PaddleClas has them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ppzoo.data.transforms.operations import Fill, operate, sign
from ppzoo.data.transforms.pixels import check_at_least, color, from_pil, to_pil
from ppzoo.data.transforms.policies import IMAGENET, Step
from ppzoo.data.transforms.registry import TRANSFORMS

# Amount of an operation at magnitudes 0 and 9; translations are shares of the side, colors deviate from 1 by it.
RANGES = {
    **dict.fromkeys(("ShearX", "ShearY"), (0.0, 0.3)),
    **dict.fromkeys(("TranslateX", "TranslateY"), (0.0, 150 / 331)),
    **dict.fromkeys(("Color", "Contrast", "Sharpness", "Brightness"), (0.0, 0.9)),
    "Rotate": (0.0, 30.0),
    "Posterize": (8.0, 4.0),
    "Solarize": (256.0, 0.0),
    **dict.fromkeys(("AutoContrast", "Equalize", "Invert"), (0.0, 0.0)),
}


def change(image: Image.Image, name: str, amount: float, fill: Fill, random: np.random.Generator) -> Image.Image:
    """An operation with an amount of the kind in `RANGES`, either way for shears, translations and colors."""
    if name.startswith("Shear"):
        return operate(image, name, amount * sign(random), resample=Image.Resampling.BICUBIC, fill=fill)
    if name.startswith("Translate"):
        side = image.width if name == "TranslateX" else image.height
        return operate(image, name, amount * side * sign(random), fill=fill)
    if name in ("Color", "Contrast", "Sharpness", "Brightness"):
        return operate(image, name, 1 + amount * sign(random))
    return operate(image, name, amount, fill=fill)


@TRANSFORMS.register
class AutoAugment:
    """One of the 25 pairs of operations that were learned on ImageNet (`policies.IMAGENET`), drawn for each image.

    Args:
        fillcolor: what shears, translations and rotations leave uncovered, one value a channel; gray by default.
    """

    def __init__(self, *, fillcolor: list[int] | None = None) -> None:
        self.fill = color("AutoAugment.fillcolor", fillcolor or 128)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        for step in IMAGENET[random.integers(len(IMAGENET))]:
            if random.random() < step.probability:
                pixels = change(pixels, step.operation, self.amount(step), self.fill, random)
        return from_pil(pixels)

    @staticmethod
    def amount(step: Step) -> float:
        """The amount of a step; bits are rounded, halves to even."""
        low, high = RANGES[step.operation]
        amount = low + (high - low) * step.magnitude / 9
        return round(amount) if step.operation == "Posterize" else amount


@TRANSFORMS.register
class RandAugment:
    """Operations drawn at random, all of one magnitude.

    Cubuk et al.: "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", arXiv:1909.13719.

    Args:
        num_layers: number of operations, drawn with replacement.
        magnitude: from 0 to 10.
        fillcolor: what shears and translations leave uncovered, one value a channel; gray by default.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(self, *, num_layers: int = 2, magnitude: float = 5, fillcolor: list[int] | None = None) -> None:
        self.num_layers = int(check_at_least(f"{type(self).__name__}.num_layers", num_layers, 0))
        self.level = check_at_least(f"{type(self).__name__}.magnitude", magnitude, 0) / 10
        self.fill = color(f"{type(self).__name__}.fillcolor", fillcolor or 128)
        self.amounts = self.amounts_at(self.level)

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        names = list(self.amounts)
        for index in random.integers(len(names), size=self.num_layers):
            pixels = self.change(pixels, names[index], random)
        return from_pil(pixels)

    def amounts_at(self, level: float) -> dict[str, float]:
        """The operations and their amounts at a magnitude of 10 x `level`."""
        amounts = {name: max(bounds) * level for name, bounds in RANGES.items()}
        return {**amounts, "Posterize": int(4 * level)}

    def change(self, image: Image.Image, name: str, random: np.random.Generator) -> Image.Image:
        return change(image, name, self.amounts[name], self.fill, random)


@TRANSFORMS.register
class RandAugmentV2(RandAugment):
    """RandAugment as EfficientNetV2 uses it: Tan, Le, arXiv:2104.00298.

    Beside other amounts it rotates either way, and adds SolarizeAdd and Cutout.

    Args:
        num_layers, magnitude, fillcolor: those of `RandAugment`.
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

    def change(self, image: Image.Image, name: str, random: np.random.Generator) -> Image.Image:
        amount = self.amounts[name]
        if name == "Cutout":
            return self._cut_out(image, int(amount), random)
        if name.startswith(("Shear", "Translate", "Rotate")):
            amount *= sign(random)
        return operate(image, name, amount, fill=self.fill)

    def _cut_out(self, image: Image.Image, half: int, random: np.random.Generator) -> Image.Image:
        """Fill a square of side 2 x `half` around a random point; what falls beyond the edge is lost."""
        pixels = np.array(image)
        y, x = (int(random.integers(side, endpoint=True)) for side in pixels.shape[:2])
        pixels[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = self.fill[0]
        return Image.fromarray(pixels)
