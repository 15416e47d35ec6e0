"""The operations of augmentation policies, on Pillow images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Fill = tuple[float, float, float]

GRAY: Fill = (128, 128, 128)

Matrix = tuple[float, float, float, float, float, float]
_MATRICES: dict[str, Callable[[float], Matrix]] = {
    "ShearX": lambda amount: (1, amount, 0, 0, 1, 0),
    "ShearY": lambda amount: (1, 0, 0, amount, 1, 0),
    "TranslateX": lambda amount: (1, 0, amount, 0, 1, 0),
    "TranslateY": lambda amount: (1, 0, 0, 0, 1, amount),
}
_ENHANCERS: dict[str, Callable[[Image.Image], ImageEnhance._Enhance]] = {
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Brightness": ImageEnhance.Brightness,
    "Sharpness": ImageEnhance.Sharpness,
}
_LEVELS: dict[str, Callable[[float], Callable[[int], float]]] = {
    "Posterize": lambda bits: lambda value: value & ~(2 ** (8 - int(bits)) - 1),
    "Solarize": lambda threshold: lambda value: value if value < threshold else 255 - value,
    "SolarizeAdd": lambda add: lambda value: min(255, value + add) if value < 128 else value,
}
_WITHOUT_AMOUNT: dict[str, Callable[[Image.Image], Image.Image]] = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
}


def apply_operation(
    image: Image.Image,
    name: str,
    amount: float,
    *,
    resample: Image.Resampling = Image.Resampling.NEAREST,
    fill: Fill = GRAY,
) -> Image.Image:
    """Apply one operation to a gray or RGB image.

    Args:
        name: "ShearX", "ShearY" (amount: shear factor), "TranslateX", "TranslateY" (pixels), "Rotate" (degrees,
            counterclockwise), "Color", "Contrast", "Brightness", "Sharpness" (factor; 1 changes nothing),
            "Posterize" (number of bits to keep), "Solarize" (threshold), "SolarizeAdd" (added to values below 128),
            "AutoContrast", "Equalize", "Invert" (no amount).
        resample: interpolation of shears, translations and rotations.
        fill: value of the area that they leave uncovered.
    """
    if name in _WITHOUT_AMOUNT:
        return _WITHOUT_AMOUNT[name](image)
    if name in _ENHANCERS:
        return _ENHANCERS[name](image).enhance(amount)
    if name in _LEVELS:
        return image.point([_LEVELS[name](amount)(value) for value in range(256)] * len(image.getbands()))
    color = fill if image.mode == "RGB" else fill[0]
    if name == "Rotate":
        return image.rotate(amount, resample, fillcolor=color)
    return image.transform(image.size, Image.Transform.AFFINE, _MATRICES[name](amount), resample, fillcolor=color)


def random_sign(random: np.random.Generator) -> int:
    """Return 1 or -1 with equal probability."""
    return 1 - 2 * int(random.integers(2))
