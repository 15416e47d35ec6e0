"""The part of a photo that the network sees is where its pixels come from."""

import numpy as np
import pytest

from ppzoo import builders
from ppzoo.builders.seen_part import Part, find_seen_part, find_unlocated, unfused

SIZES = [(400, 300), (300, 400), (90, 91), (640, 64)]
CROPS = [
    [{"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}],
    [{"ResizeImage": {"resize_short": 70, "backend": "pil"}}, {"CropImage": {"size": [64, 48]}}],
    [{"ResizeImage": {"size": [80, 70]}}],
    [{"ResizeImage": {"resize_short": 80}}, {"CropCorner": {"size": 64, "corner": "bottom_right"}}],
    [{"ResizeImage": {"resize_short": 80}}, {"CropCorner": {"size": 64, "corner": "top_left"}}],
    [{"CropImageAtRatio": {"size": 64, "pad": 20}}],
    [{"CropImage": {"size": 60}}, {"ResizeImage": {"size": 96}}],
]


def transforms_of(ops, **decode):
    return builders.build_transforms([{"DecodeImage": decode}, *ops])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ops", CROPS)
def test_the_part_is_where_the_pixels_come_from(ops, size):
    """A photo whose red and green are the horizontal and vertical position is transformed."""
    width, height = size
    ramp = np.zeros((height, width, 3), np.float64)
    ramp[..., 0] = ((np.arange(width) + 0.5) / width * 255)[None]
    ramp[..., 1] = ((np.arange(height) + 0.5) / height * 255)[:, None]
    transforms = transforms_of(ops)
    seen = transforms(ramp.round().astype(np.uint8)).astype(float) / 255
    part = find_seen_part(list(unfused(transforms.transforms)), width, height)
    rows, columns = seen.shape[:2]
    expected_x = (part.left + (np.arange(columns) + 0.5) * part.width / columns) / width
    expected_y = (part.top + (np.arange(rows) + 0.5) * part.height / rows) / height
    inside = slice(3, -3)  # of the edges, where interpolation repeats pixels
    np.testing.assert_allclose(seen[rows // 2, inside, 0], expected_x[inside], atol=0.012)
    np.testing.assert_allclose(seen[inside, columns // 2, 1], expected_y[inside], atol=0.012)


def test_a_reduced_decoder_keeps_the_same_part():
    ops = [{"ResizeImage": {"resize_short": 36}}, {"CropImage": {"size": 32}}]
    plain, reduced = (list(unfused(transforms_of(ops, **options).transforms)) for options in ({}, {"reduced": 0.5}))
    assert find_seen_part(reduced, 400, 300) == find_seen_part(plain, 400, 300) != Part(0, 0, 400, 300)


@pytest.mark.parametrize("op", [{"Pad": {"padding": 4}}, {"RandCropImage": {"size": 32}}, {"RandFlipImage": {}}])
def test_other_transforms_are_named(op):
    assert find_unlocated(list(unfused(transforms_of([op]).transforms))) == next(iter(op))
    assert find_unlocated(list(unfused(transforms_of(CROPS[0]).transforms))) is None
