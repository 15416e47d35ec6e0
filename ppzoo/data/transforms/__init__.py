"""What is done to an image between its file and the network, in training, evaluation and prediction alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppzoo.data.transforms import (  # noqa: F401  (each enrols its transforms)
    augmix,
    auto_augment,
    blur,
    colour,
    crops,
    erasing,
    padding,
    rotation,
    timm_augment,
)
from ppzoo.data.transforms.decode import DecodeImage
from ppzoo.data.transforms.geometry import CropImage, RandCropImage, RandFlipImage, ResizeImage
from ppzoo.data.transforms.normalize import NormalizeImage, ToCHWImage
from ppzoo.data.transforms.registry import TRANSFORMS, Transform


class Compose:
    """Transforms one after the other.

    Attributes:
        channel_first: whether the result is C x H x W, because one of the transforms makes it so.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)
        self.channel_first = any(
            isinstance(transform, ToCHWImage) or (isinstance(transform, DecodeImage) and transform.channel_first)
            for transform in self.transforms
        )

    def __call__(self, image: bytes | np.ndarray, random: np.random.Generator | None = None) -> np.ndarray:
        """The transformed image; `random` decides what random transforms do, by default a fresh generator."""
        if random is None:
            random = np.random.default_rng()
        for transform in self.transforms:
            image = transform(image, random)  # type: ignore[arg-type]
        return image  # type: ignore[return-value]


__all__ = [
    "TRANSFORMS",
    "Compose",
    "CropImage",
    "DecodeImage",
    "NormalizeImage",
    "RandCropImage",
    "RandFlipImage",
    "ResizeImage",
    "ToCHWImage",
    "Transform",
]
