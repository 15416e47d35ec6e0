"""ResizeImage and CropImage, fused into one transform, give the pixels of the two in sequence."""

import numpy as np
import pytest

from ppzoo.data.transforms import Compose, CropImage, ResizeImage
from ppzoo.data.transforms.crop import ResizedCrop
from ppzoo.errors import DataError


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 375), (64, 64), (33, 1000), (1000, 33), (20, 31), (128, 96), (257, 511)]
)
@pytest.mark.parametrize(
    ("resize", "crop"),
    [({"resize_short": 64}, 56), ({"size": [70, 61]}, [64, 59]), ({"size": 32}, 32), ({"resize_short": 37}, [1, 36])],
)
def test_resized_crop_equals_resizing_and_cropping(height, width, channels, resize, crop):
    image = noise(height, width, channels)
    both = Compose([ResizeImage(**resize), CropImage(size=crop)])
    assert [type(transform) for transform in both.transforms] == [ResizedCrop]
    expected = Compose([CropImage(size=crop)])(Compose([ResizeImage(**resize)])(image))
    np.testing.assert_array_equal(both(image), expected)


def test_a_crop_larger_than_the_image_is_rejected():
    with pytest.raises(DataError, match=r"CropImage: expected an image of at least 60 x 60 .*, got 72 x 50"):
        Compose([ResizeImage(resize_short=50), CropImage(size=60)])(noise(500, 720))


@pytest.mark.parametrize("options", [{"interpolation": "bicubic"}, {"backend": "pil"}, {"interpolation": "area"}])
def test_other_interpolations_are_not_fused(options):
    both = Compose([ResizeImage(resize_short=64, **options), CropImage(size=56)])
    assert [type(transform) for transform in both.transforms] == [ResizeImage, CropImage]
