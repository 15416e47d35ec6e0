"""The part of a photo that the network sees after resizing and cropping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ppzoo.data.transforms import CropImage, DecodeImage, NormalizeImage, ResizeImage, ToCHWImage, Transform
from ppzoo.data.transforms.crop import CropCorner, CropImageAtRatio, ResizedCrop
from ppzoo.data.transforms.decode import ReducedDecode

KEEPING_SIZE = (DecodeImage, NormalizeImage, ToCHWImage)


class Part(NamedTuple):
    """A rectangle in a photo, in its pixels, not rounded."""

    left: float
    top: float
    width: float
    height: float


def unfused(transforms: Sequence[Transform]) -> Iterator[object]:
    """Yield the transforms as they were before pairs of them were fused."""
    for transform in transforms:
        if isinstance(transform, ReducedDecode):
            yield from (transform.decode, transform.resize)
        elif isinstance(transform, ResizedCrop):
            yield from (transform.resize, transform.crop)
        else:
            yield transform


def find_unlocated(transforms: Sequence[object]) -> str | None:
    """Return the name of the first transform for which `find_seen_part` is not defined; None if there is none."""
    known = (*KEEPING_SIZE, ResizeImage, CropImage, CropCorner, CropImageAtRatio)
    for transform in transforms:
        if not isinstance(transform, known) or (isinstance(transform, DecodeImage) and transform.channel_first):
            return type(transform).__name__
    return None


def find_seen_part(transforms: Sequence[object], width: int, height: int) -> Part:
    """Return the part of a photo of `width` x `height` pixels that the transforms keep.

    The transforms can decode, resize, crop the center or a corner, and normalize; see `find_unlocated`.
    """
    part = Part(0, 0, width, height)
    columns, rows = width, height  # the size to which `part` is resized
    for transform in transforms:
        if isinstance(transform, ResizeImage):
            window = transform.window(rows, columns, None)  # type: ignore[arg-type]  # draws no random numbers
            columns, rows = window.size
        elif isinstance(transform, CropImageAtRatio):
            side = max(int(transform.ratio * min(columns, rows)), 1)
            part = _crop(part, columns, rows, (columns - side) // 2, (rows - side) // 2, side, side)
            columns = rows = transform.size
        elif isinstance(transform, (CropImage, CropCorner)):
            left, top = columns - transform.width, rows - transform.height
            if isinstance(transform, CropImage):
                left, top = left // 2, top // 2
            else:
                left = 0 if transform.horizontal == "left" else left
                top = 0 if transform.vertical == "top" else top
            part = _crop(part, columns, rows, left, top, transform.width, transform.height)
            columns, rows = transform.width, transform.height
    return part


def _crop(part: Part, columns: int, rows: int, left: int, top: int, width: int, height: int) -> Part:
    """Return a crop of the resized `part` (`columns` x `rows` pixels) as a part of the photo."""
    across, down = part.width / columns, part.height / rows
    return Part(part.left + left * across, part.top + top * down, width * across, height * down)
