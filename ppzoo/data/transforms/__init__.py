"""Image transforms, from the file to the network's input, shared by training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from ppzoo.data.compiled import partial_jpeg
from ppzoo.data.transforms import (  # noqa: F401  (each registers its transforms)
    augmix,
    auto_augment,
    blur,
    color,
    erasing,
    padding,
    rotation,
    timm_augment,
)
from ppzoo.data.transforms.crop import (
    CORNERS,
    CropCorner,
    CropImage,
    CropImageAtRatio,
    RandCropImage,
    ResizedCrop,
    fuse_resized_crops,
)
from ppzoo.data.transforms.decode import DecodeImage, ReducedDecode, decode_and_crop
from ppzoo.data.transforms.geometry import RandFlipImage, ResizeImage
from ppzoo.data.transforms.normalize import NormalizeImage, ToCHWImage
from ppzoo.data.transforms.padding import Pad
from ppzoo.data.transforms.registry import TRANSFORMS, Transform
from ppzoo.errors import ConfigError

# Types, with their subtypes, that return uint8 for uint8 or encoded images.
KEEPING_BYTES = (DecodeImage, ReducedDecode, ResizeImage, CropImage, ResizedCrop)
# Types (not subtypes) that map uint8 to uint8 and draw no random numbers.
DETERMINISTIC = (DecodeImage, ResizeImage, CropImage, CropCorner, CropImageAtRatio, Pad)


class Compose:
    """Applies transforms in order.

    Raises:
        ConfigError: a transform of H x W x C images follows one that returns C x H x W.

    Attributes:
        channel_first: whether the result is C x H x W.
        last: the normalization, if at most a transposition follows it and it can normalize batches; else None.
        before: the transforms before `last`; not used if `last` is None.
        mirror: the last transform of `before`, if it mirrors images horizontally at random; else None.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.given = list(transforms)
        self.transforms = fuse_resized_crops(_fuse_reduced_decode(transforms))
        self.channel_first = _returns_channels_first(self.transforms)
        self.before = list(self.transforms)
        while self.before and isinstance(self.before[-1], ToCHWImage):
            del self.before[-1]
        last = self.before.pop() if self.before else None
        self.last = last if isinstance(last, NormalizeImage) and last.takes_batches else None
        final = self.before[-1] if self.before else None
        self.mirror = final if type(final) is RandFlipImage and final.flip_code == 1 else None

    def __call__(self, image: bytes | np.ndarray, random: np.random.Generator | None = None) -> np.ndarray:
        """Transform an image; random transforms draw from `random`, by default a new generator."""
        return _apply(self.transforms, image, np.random.default_rng() if random is None else random)

    def before_last(self, image: bytes | np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return the H x W x C input of `last`.

        Raises:
            DataError: `last` cannot normalize it.
        """
        assert self.last is not None
        pixels = _apply(self.before, image, random)
        self.last.check(pixels)
        return pixels

    def before_mirror(self, image: bytes | np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, bool]:
        """Return what `before_last` returns, and whether it still has to be mirrored horizontally.

        Raises:
            DataError: `last` cannot normalize it.
        """
        if self.mirror is None or self.last is None:
            return self.before_last(image, random), False
        pixels = _apply(self.before[:-1], image, random)
        self.last.check(pixels)
        return pixels, self.mirror.draw(random)

    def split_at_random(self) -> tuple[Compose, Compose]:
        """Return the transforms before the first random one, as long as their results are uint8, and the rest.

        The two parts, applied one after the other, return results that are bit-identical to those of this object. The
        first part is empty if the list does not begin with `DecodeImage`, or with one that returns channels first.

        Raises:
            ConfigError: `DecodeImage.reduced` depends on a random transform.
        """
        count, decode = 0, self.given[0] if self.given else None
        if isinstance(decode, DecodeImage) and not decode.channel_first:
            count = next(
                (index for index, transform in enumerate(self.given) if type(transform) not in DETERMINISTIC),
                len(self.given),
            )
            if decode.reduced is not None and count == 1:
                raise ConfigError(
                    "expected DecodeImage without reduced before a random transform, because the decoded"
                    f" size depends on that transform, got reduced {decode.reduced}: remove reduced or the cache"
                )
        rest = Compose(self.given[count:])
        rest.channel_first = self.channel_first
        return Compose(self.given[:count]), rest

    @property
    def decodes(self) -> bool:
        """Whether the transforms begin with decoding."""
        return bool(self.given) and isinstance(self.given[0], DecodeImage)

    @property
    def leaves_pixels(self) -> bool:
        """Whether the list ends with a normalization and a transposition, and all transforms before return uint8."""
        kept = all(isinstance(transform, KEEPING_BYTES) for transform in self.before)
        return kept and self.last is not None and len(self.transforms) == len(self.before) + 2


def _fuse_reduced_decode(transforms: Sequence[Transform]) -> list[Transform]:
    """Replace a `DecodeImage` with `reduced`, and the transform after it, by one `ReducedDecode`."""
    fused = list(transforms)
    for index, (decode, resize) in enumerate(zip_longest(transforms, transforms[1:])):
        if isinstance(decode, DecodeImage) and decode.reduced is not None:
            fused[index : index + 2] = [ReducedDecode(decode, resize)]
            break
    return fused


def find_partial_decoding(transforms: Sequence[Transform]) -> tuple[DecodeImage, RandCropImage | ResizedCrop] | None:
    """Return the first two transforms if JPEG files are only decoded as far as the second one needs; else None."""
    if len(transforms) < 2 or not partial_jpeg.is_available():
        return None
    decode, crop, *_ = transforms
    if isinstance(decode, DecodeImage) and isinstance(crop, RandCropImage | ResizedCrop):
        return decode, crop
    return None


def _apply(transforms: Sequence[Transform], image: bytes | np.ndarray, random: np.random.Generator) -> np.ndarray:
    if isinstance(image, bytes) and not (transforms and isinstance(transforms[0], DecodeImage | ReducedDecode)):
        raise ConfigError("expected DecodeImage as the first transform, since the images are files; add it to the list")
    if isinstance(image, bytes) and (pair := find_partial_decoding(transforms)):
        image, transforms = decode_and_crop(image, *pair, random), transforms[2:]
    for transform in transforms:
        image = transform(image, random)  # type: ignore[arg-type]
    return image  # type: ignore[return-value]


def _returns_channels_first(transforms: Sequence[Transform]) -> bool:
    """Return whether these transforms return C x H x W; check the transforms that get such images.

    Transforms that are not part of ppzoo are not checked: they can be made for C x H x W.

    Raises:
        ConfigError: one of them requires H x W x C.
    """
    cause = None
    for transform in transforms:
        name = type(transform).__name__
        if cause is not None and not _takes_channels_first(transform):
            fix = "remove it" if isinstance(transform, ToCHWImage) else f"put it before {cause}"
            fix = "set DecodeImage.channel_first to False" if cause == "DecodeImage" else fix
            raise ConfigError(f"{name}: expected images of height x width x channels, got channels first; {fix}")
        if isinstance(transform, ToCHWImage) or (isinstance(transform, DecodeImage) and transform.channel_first):
            cause = name
    return cause is not None


def _takes_channels_first(transform: Transform) -> bool:
    is_included = type(transform).__module__.startswith("ppzoo.")
    return getattr(transform, "takes_channels_first", not is_included)


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
