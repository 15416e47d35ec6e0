"""What is done to an image between its file and the network, in training, evaluation and prediction alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from ppzoo.data.transforms import (  # noqa: F401  (each enrols its transforms)
    augmix,
    auto_augment,
    blur,
    color,
    crops,
    erasing,
    padding,
    rotation,
    timm_augment,
)
from ppzoo.data.transforms.corners import CORNERS
from ppzoo.data.transforms.decode import DecodeImage
from ppzoo.data.transforms.geometry import CropImage, RandCropImage, RandFlipImage, ResizeImage
from ppzoo.data.transforms.normalize import NormalizeImage, ToCHWImage
from ppzoo.data.transforms.reduced import ReducedDecode
from ppzoo.data.transforms.registry import TRANSFORMS, Transform
from ppzoo.data.transforms.resized_crop import ResizedCrop, join_resized_crops

KEEPING_BYTES = (DecodeImage, ReducedDecode, ResizeImage, CropImage, ResizedCrop)


class Compose:
    """Transforms one after the other.

    Attributes:
        channel_first: whether the result is C x H x W, because one of the transforms makes it so.
        last: the normalization, where nothing but a transposition follows it and whole batches will do.
        before: the transforms before `last`.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = join_resized_crops(_join_reduced(transforms))
        self.channel_first = any(
            isinstance(transform, ToCHWImage) or (isinstance(transform, DecodeImage) and transform.channel_first)
            for transform in self.transforms
        )
        self.before = list(self.transforms)
        while self.before and isinstance(self.before[-1], ToCHWImage):
            del self.before[-1]
        last = self.before.pop() if self.before else None
        self.last = last if isinstance(last, NormalizeImage) and last.takes_batches else None

    def __call__(self, image: bytes | np.ndarray, random: np.random.Generator | None = None) -> np.ndarray:
        """The transformed image; `random` decides what random transforms do, by default a fresh generator."""
        return _apply(self.transforms, image, np.random.default_rng() if random is None else random)

    def before_last(self, image: bytes | np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The image as `last` is to take it: H x W x C.

        Raises:
            DataError: it cannot be taken.
        """
        assert self.last is not None
        pixels = _apply(self.before, image, random)
        self.last.check(pixels)
        return pixels

    @property
    def leaves_pixels(self) -> bool:
        """Whether `before_last` answers bytes of bytes, and calling their normalization, transposed."""
        kept = all(isinstance(transform, KEEPING_BYTES) for transform in self.before)
        return kept and self.last is not None and len(self.transforms) == len(self.before) + 2


def _join_reduced(transforms: Sequence[Transform]) -> list[Transform]:
    """The transforms, of which a reduced decoding and what follows it have become one."""
    joined = list(transforms)
    for place, (decode, follower) in enumerate(zip_longest(transforms, transforms[1:])):
        if isinstance(decode, DecodeImage) and decode.reduced is not None:
            joined[place : place + 2] = [ReducedDecode(decode, follower)]
            break
    return joined


def _apply(transforms: Sequence[Transform], image: bytes | np.ndarray, random: np.random.Generator) -> np.ndarray:
    for transform in transforms:
        image = transform(image, random)  # type: ignore[arg-type]
    return image  # type: ignore[return-value]


__all__ = [
    "CORNERS",
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
