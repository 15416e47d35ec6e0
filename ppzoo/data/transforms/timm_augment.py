"""The augmentation policies of PyTorch Image Models (timm), given by a string as in PaddleClas's recipes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

from ppzoo.data.transforms.augmix import draw_mixture, mix_chains
from ppzoo.data.transforms.operations import Fill, apply_operation, random_sign
from ppzoo.data.transforms.pixels import MAX_OPERATIONS, check_count, check_probability, from_pil, to_pil
from ppzoo.data.transforms.policies import IMAGENET, V0, Step
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError

INTERPOLATIONS = {
    "bilinear": [Image.Resampling.BILINEAR],
    "bicubic": [Image.Resampling.BICUBIC],
    "random": [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC],
}
COLORS = ("Color", "Contrast", "Brightness", "Sharpness")
WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
# The operations of the policies "rand" and "augmix".
RAND = ("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", *COLORS, *WARPS[:4])
AUGMIX = ("AutoContrast", *COLORS, "Equalize", "Rotate", "Posterize", "Solarize", *WARPS[:4])

# Weights of the choice among `RAND` with option w0.
WEIGHTS = {
    "Rotate": 0.3,
    **dict.fromkeys(("ShearX", "ShearY"), 0.2),
    **dict.fromkeys(("TranslateX", "TranslateY"), 0.1),
    **dict.fromkeys(("Color", "Sharpness", "AutoContrast"), 0.025),
    **dict.fromkeys(("Solarize", "SolarizeAdd", "Contrast", "Brightness", "Equalize"), 0.005),
    **dict.fromkeys(("Posterize", "Invert"), 0.0),
}

Posterize = Literal["decreasing", "increasing", "paper"]


class Operator:
    """Applies operations with timm's magnitudes, from 0 to 10.

    Args:
        deviation: standard deviation of the normal noise on a magnitude.
        increasing: the effect of color operations (in either direction) and of solarizing increases with the magnitude;
            else the factor of color operations runs from 0.1 to 1.9, and solarizing decreases.
        posterize: how the number of bits to keep changes with the magnitude: from 0 to 4 (the effect is "decreasing"),
            from 4 to 0 (the effect is "increasing"), or from 4 to 8 ("paper").
        translation: translation at magnitude 10, as a fraction of the side.
        resamplings: interpolations, of which each shear, translation and rotation uses a random one.
        fill: value of the area that shears, translations and rotations leave uncovered.
    """

    def __init__(
        self,
        *,
        deviation: float,
        increasing: bool,
        posterize: Posterize,
        translation: float,
        resamplings: list[Image.Resampling],
        fill: Fill,
    ) -> None:
        self.deviation, self.increasing, self.posterize = deviation, increasing, posterize
        self.translation, self.resamplings, self.fill = translation, resamplings, fill

    def __call__(self, image: Image.Image, step: Step, random: np.random.Generator) -> Image.Image:
        if step.probability < 1 and random.random() > step.probability:
            return image
        magnitude = float(step.magnitude)
        if self.deviation:
            magnitude = random.normal(magnitude, self.deviation)
        amount = self._amount(step.operation, min(max(magnitude / 10, 0), 1), image.size, random)
        if step.operation == "Posterize" and amount >= 8:
            return image
        resample = self.resamplings[random.integers(len(self.resamplings))]
        return apply_operation(image, step.operation, amount, resample=resample, fill=self.fill)

    def _amount(self, name: str, level: float, size: tuple[int, int], random: np.random.Generator) -> float:
        """Return the amount of an operation at a level from 0 to 1."""
        if name in WARPS:
            width, height = size
            maximum = {"Rotate": 30, "TranslateX": self.translation * width, "TranslateY": self.translation * height}
            return level * maximum.get(name, 0.3) * random_sign(random)
        if name in COLORS:
            return 1 + 0.9 * level * random_sign(random) if self.increasing else 1.8 * level + 0.1
        if name == "Posterize":
            bits = int(level * 4)
            return {"decreasing": bits, "increasing": 4 - bits, "paper": bits + 4}[self.posterize]
        if name == "Solarize":
            return 256 - int(level * 256) if self.increasing else int(level * 256)
        return int(level * 110)  # SolarizeAdd; the remaining operations have no amount


@TRANSFORMS.register
class TimmAutoAugment:
    """An augmentation policy given by a string such as "rand-m9-mstd0.5-inc1".

    The sections of the string are joined by "-"; the first is the policy. Defaults are in parentheses:
      rand: random operations, each applied with probability 1/2. m: magnitude (10); n: number of operations (2);
        mstd: standard deviation of the magnitude (0); inc1: effects increase with the magnitude; w0: weighted choice.
      augmix: a mixture of chains of operations (arXiv:1912.02781). m: magnitude (3); w: number of chains (3); d: length
        of a chain (1 to 3 at random); a: parameter of the distributions (1); mstd as for rand.
      original, originalr: AutoAugment for ImageNet, the latter with posterizing that increases with the magnitude;
      v0, v0r: the policy in the code of EfficientNet, the latter with the same change.
        All four have mstd as for rand.

    Args:
        prob: probability of applying the policy.
        config_str: the policy ("rand", "augmix", "original", "originalr", "v0" or "v0r") and its parameters, joined by
            "-", as in timm.
        interpolation: "bilinear", "bicubic", or "random": one of the two for each operation.
        img_size: accepted for PaddleClas's configurations, without effect: no policy translates by pixels.
        mean: color, from 0 to 1, of the area that shears, translations and rotations leave uncovered; ImageNet's by
            default.

    Raises:
        ConfigError: an invalid string or option.
    """

    def __init__(
        self,
        *,
        prob: float = 1.0,
        config_str: str = "rand-m9-mstd0.5-inc1",
        interpolation: str | None = "bicubic",
        img_size: int | list[int] = 224,
        mean: list[float] | None = None,
    ) -> None:
        self.prob = check_probability("TimmAutoAugment.prob", prob)
        name = interpolation or "random"
        if name not in INTERPOLATIONS:
            raise ConfigError(
                f"TimmAutoAugment.interpolation: expected {', '.join(INTERPOLATIONS)}, got {interpolation!r}"
            )
        shares = [0.485, 0.456, 0.406] if mean is None else mean
        if len(shares) != 3 or not all(0 <= share <= 1 for share in shares):
            raise ConfigError(f"TimmAutoAugment.mean: expected three values from 0 to 1, got {mean!r}")
        red, green, blue = (min(255, round(255 * share)) for share in shares)
        self.augment = _policy(config_str, INTERPOLATIONS[name], (red, green, blue))

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        pixels = to_pil(image, self)
        if random.random() >= self.prob:
            return image
        return from_pil(self.augment(pixels, random))


Augment = Callable[[Image.Image, np.random.Generator], Image.Image]

# The sections of each policy, with their defaults.
SECTIONS: dict[str, dict[str, float]] = {
    "rand": {"m": 10, "n": 2, "w": -1, "mstd": 0, "inc": 0},
    "augmix": {"m": 3, "w": 3, "d": -1, "a": 1, "mstd": 0},
    **{name: {"mstd": 0} for name in ("original", "originalr", "v0", "v0r")},
}


def _policy(text: str, resamplings: list[Image.Resampling], fill: Fill) -> Augment:
    name, options = _parse(text)
    operator = partial(Operator, deviation=options["mstd"], resamplings=resamplings, fill=fill)
    if name == "rand":
        increasing = bool(options["inc"])
        posterize: Posterize = "increasing" if increasing else "decreasing"
        return partial(
            _draw_operations,
            steps=[Step(operation, 0.5, int(options["m"])) for operation in RAND],
            count=int(options["n"]),
            weighted=options["w"] == 0,
            operator=operator(increasing=increasing, posterize=posterize, translation=0.45),
        )
    if name == "augmix":
        return partial(
            _mix,
            steps=[Step(operation, 1.0, int(options["m"])) for operation in AUGMIX],
            options=options,
            operator=operator(increasing=True, posterize="increasing", translation=0.3),
        )
    kinds: dict[str, Posterize] = {"original": "paper", "v0": "decreasing"}
    return partial(
        _draw_pair,
        pairs=V0 if name.startswith("v0") else IMAGENET,
        operator=operator(increasing=False, posterize=kinds.get(name, "increasing"), translation=0.45),
    )


def _parse(text: str) -> tuple[str, dict[str, float]]:
    """Return the name of the policy and the values of its sections."""
    name, *sections = text.split("-")
    if name not in SECTIONS:
        raise ConfigError(f"TimmAutoAugment.config_str: expected a policy ({', '.join(SECTIONS)}), got {text!r}")
    options = dict(SECTIONS[name])
    for section in sections:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", section)
        if not match or match[1] not in options:
            raise ConfigError(
                f"TimmAutoAugment.config_str: expected sections {', '.join(options)}, each with a number, "
                f"got {section!r} in {text!r}"
            )
        options[match[1]] = float(match[2])
    for option in {"n", "w", "d"} & options.keys():
        check_count(f"TimmAutoAugment.config_str: {option}", options[option], -1, MAX_OPERATIONS)
    if options.get("w") not in (None, -1, 0) and name == "rand":
        raise ConfigError(f"TimmAutoAugment.config_str: expected w0 or no w, got {text!r}")
    return name, options


def _draw_operations(
    image: Image.Image,
    random: np.random.Generator,
    *,
    steps: list[Step],
    count: int,
    weighted: bool,
    operator: Operator,
) -> Image.Image:
    """Apply operations drawn with replacement, or by `WEIGHTS` without replacement."""
    shares = np.array([WEIGHTS[step.operation] for step in steps])
    chosen = (
        random.choice(len(steps), count, replace=False, p=shares / shares.sum())
        if weighted
        else random.integers(len(steps), size=count)
    )
    for index in chosen:
        image = operator(image, steps[index], random)
    return image


def _draw_pair(
    image: Image.Image, random: np.random.Generator, *, pairs: list[list[Step]], operator: Operator
) -> Image.Image:
    for step in pairs[random.integers(len(pairs))]:
        image = operator(image, step, random)
    return image


def _mix(
    image: Image.Image,
    random: np.random.Generator,
    *,
    steps: list[Step],
    options: Mapping[str, float],
    operator: Operator,
) -> Image.Image:
    weights, share = draw_mixture(options["a"], int(options["w"]), random)

    def link(part: Image.Image) -> Image.Image:
        return operator(part, steps[random.integers(len(steps))], random)

    mixed = mix_chains(image, weights, int(options["d"]), link, random).clip(0, 255).astype(np.uint8)
    return Image.blend(image, Image.fromarray(mixed), share)
