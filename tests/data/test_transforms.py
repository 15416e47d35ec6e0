"""Transforms equal PaddleClas's exactly; random ones have its distribution and draw only from their generator."""

import json

import cv2
import numpy as np
import pytest
from helpers import reference
from PIL import Image

from ppzoo.builders import build_transforms
from ppzoo.data import TRANSFORMS, Compose
from ppzoo.data.transforms import CropImage, NormalizeImage, RandCropImage, RandFlipImage, ResizeImage, ToCHWImage
from ppzoo.errors import ConfigError, DataError

FACTS = reference.read_npz("preprocess.npz")
CASES = [name.removesuffix("_ops") for name in FACTS if name.endswith("_ops")]
SIZES = [(97, 131), (131, 97), (50, 50), (33, 201)]


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("case", CASES)
def test_pipelines_equal_paddleclas(case):
    steps = [step for entry in json.loads(str(FACTS[f"{case}_ops"])) for step in entry.items()]
    compose = Compose([TRANSFORMS[name](**(options or {})) for name, options in steps])
    np.testing.assert_allclose(compose(FACTS[f"{case}_input"]), FACTS[f"{case}_output"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(
    ("backend", "interpolation", "code"),
    [
        ("cv2", None, cv2.INTER_LINEAR),
        ("cv2", "nearest", cv2.INTER_NEAREST),
        ("cv2", "bilinear", cv2.INTER_LINEAR),
        ("cv2", "bicubic", cv2.INTER_CUBIC),
        ("cv2", "area", cv2.INTER_AREA),
        ("cv2", "Lanczos", cv2.INTER_LANCZOS4),
        ("pil", None, Image.Resampling.BICUBIC),
        ("pil", "nearest", Image.Resampling.NEAREST),
        ("PIL", "bilinear", Image.Resampling.BILINEAR),
        ("pil", "bicubic", Image.Resampling.BICUBIC),
        ("pil", "box", Image.Resampling.BOX),
        ("pil", "hamming", Image.Resampling.HAMMING),
        ("pil", "lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_resize_equals_the_backend(height, width, backend, interpolation, code):
    image = noise(height, width)

    def expected(target_width, target_height):
        if backend == "cv2":
            return cv2.resize(image, (target_width, target_height), interpolation=code)
        return np.asarray(Image.fromarray(image).resize((target_width, target_height), code))

    def resized(**options):
        return Compose([ResizeImage(interpolation=interpolation, backend=backend, **options)])(image)

    assert (resized(size=40) == expected(40, 40)).all()
    assert (resized(size=[45, 37]) == expected(45, 37)).all()
    for short in (31, 128):
        factor = short / min(height, width)
        assert (resized(resize_short=short) == expected(round(width * factor), round(height * factor))).all()


def test_the_longer_side_is_rounded_half_to_even():
    assert Compose([ResizeImage(resize_short=1)])(noise(2, 5)).shape == (1, 2, 3)
    assert Compose([ResizeImage(resize_short=1)])(noise(7, 2)).shape == (4, 1, 3)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_gray_images_keep_one_channel(backend):
    compose = Compose(
        [RandCropImage(size=[9, 8], backend=backend), RandFlipImage(), ResizeImage(size=7, backend=backend)]
    )
    for seed in range(4):
        assert compose(noise(28, 28, 1), np.random.default_rng(seed)).shape == (7, 7, 1)
    normalized = Compose([NormalizeImage(mean=[0.5], std=[0.25], order="")])(noise(5, 4, 1))
    np.testing.assert_allclose(normalized, (noise(5, 4, 1) / 255 - 0.5) / 0.25, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": 4, "resize_short": 4},
        {"resize_short": 0},
        {"size": 0},
        {"size": [4, 4, 4]},
        {"size": 4, "interpolation": "cubic"},
        {"size": 4, "interpolation": "area", "backend": "pil"},
        {"size": 4, "interpolation": "box", "backend": "cv2"},
        {"size": 4, "backend": "dali"},
    ],
)
def test_invalid_resize_options_are_rejected(options):
    with pytest.raises(ConfigError):
        ResizeImage(**options)


@pytest.mark.parametrize(("height", "width"), [(10, 13), (11, 12), (7, 9)])
def test_the_crop_is_in_the_center_rounded_to_the_upper_left(height, width):
    image = noise(height, width)
    top, left = (height - 6) // 2, (width - 7) // 2
    assert (Compose([CropImage(size=[7, 6])])(image) == image[top : top + 6, left : left + 7]).all()
    assert (Compose([CropImage(size=7)])(image).shape) == (7, 7, 3)


def test_a_crop_larger_than_the_image_names_both_sizes():
    with pytest.raises(DataError, match=r"at least 224 x 224 .*, got 300 x 200"):
        Compose([CropImage(size=224)])(noise(200, 300))


@pytest.mark.parametrize("order", ["chw", "", "hwc"])
@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [
        (None, None, None),
        ("1.0/255.0", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        (0.00392157, [0.5, 0.4, 0.3], [0.01, 2, 1]),
        (1, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    ],
)
def test_normalization_is_float32_arithmetic_for_bytes_and_for_floats(order, scale, mean, std):
    image = noise(9, 6)
    factor = np.float32({None: 1 / 255, "1.0/255.0": 1 / 255}.get(scale, scale))
    center = np.array(mean or [0.485, 0.456, 0.406], np.float32)
    deviation = np.array(std or [0.229, 0.224, 0.225], np.float32)
    expected = (image.astype(np.float32) * factor - center) / deviation
    compose = Compose([NormalizeImage(scale=scale, mean=mean, std=std, order=order)])
    for source in (image, image.astype(np.float32)):
        before = source.copy()
        result = compose(source.transpose(2, 0, 1)).transpose(1, 2, 0) if order == "chw" else compose(source)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(source, before)


def test_normalization_can_append_a_channel_and_return_float16():
    image = noise(9, 6)
    plain = Compose([NormalizeImage(order="")])(image)
    wide = Compose([NormalizeImage(order="", channel_num=4, output_fp16=True)])(image)
    assert (wide.shape, wide.dtype) == ((9, 6, 4), np.float16)
    np.testing.assert_array_equal(wide[:, :, :3], plain.astype(np.float16))
    assert not wide[:, :, 3].any()


def test_invalid_normalization_options_are_rejected():
    for options in (
        {"scale": "__import__('os')"},
        {"std": [1.0, 0.0, 1.0]},
        {"mean": [0.0]},
        {"order": "hcw"},
        {"channel_num": 2},
    ):
        with pytest.raises(ConfigError):
            NormalizeImage(**options)
    with pytest.raises(DataError, match="3 channels in axis 0"):
        Compose([NormalizeImage()])(noise(9, 6))


def test_compose_detects_channels_first():
    assert Compose([NormalizeImage(order=""), ToCHWImage()]).channel_first
    assert not Compose([NormalizeImage(order="")]).channel_first
    assert Compose([ToCHWImage()])(noise(4, 5)).shape == (3, 4, 5)


@pytest.mark.parametrize("name", ["ResizeImage", "CropImage", "RandFlipImage", "ToCHWImage", "NormalizeImage", "Pad"])
@pytest.mark.parametrize("channels_first", [{"DecodeImage": {"channel_first": True}}, {"ToCHWImage": None}], ids=str)
def test_transforms_after_one_that_returns_channels_first_are_an_error(name, channels_first):
    """OpenCV would take the width for the channels, and resize the wrong axes or fail above 512 columns."""
    options = {
        "ResizeImage": {"size": 4},
        "CropImage": {"size": 4},
        "NormalizeImage": {"order": ""},
        "Pad": {"padding": 1},
    }
    with pytest.raises(ConfigError, match=f"^{name}: expected images of height x width x channels"):
        build_transforms([channels_first, {name: options.get(name)}])


def test_transforms_of_images_with_channels_first():
    ops = [{"ToCHWImage": None}, {"NormalizeImage": {"order": "chw"}}, {"RandomErasing": {"EPSILON": 1.0}}]
    assert build_transforms(ops)(noise(8, 9)).shape == (3, 8, 9)


def test_a_transform_of_the_users_own_can_follow_channels_first():
    shapes = []
    result = Compose([ToCHWImage(), lambda image, _: shapes.append(image.shape) or image])(noise(4, 5))
    assert shapes == [(3, 4, 5)] == [result.shape]


@pytest.mark.parametrize(
    "op",
    [
        {"ResizeImage": {"size": 4}},
        {"ResizeImage": {"size": 4, "backend": "pil"}},
        {"RandCropImage": {"size": 4}},
        {"RandomRotation": {"degrees": 30, "prob": 1.0}},
    ],
    ids=str,
)
def test_resizing_and_rotating_half_precision_is_an_error(op):
    ops = [{"NormalizeImage": {"order": "", "output_fp16": True}}, op]
    with pytest.raises(DataError, match="got float16: put the transform before NormalizeImage"):
        build_transforms(ops)(noise(8, 9))


def coordinates(height, width):
    """An image whose pixels are their coordinates."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(x)], axis=2).astype(np.uint8)


def drawn_boxes(height, width, count, **options):
    """Left, top, width and height of random crops."""
    crop = RandCropImage(size=2, **options)
    boxes = []

    def note(part, *size):
        boxes.append((part[0, 0, 1], part[0, 0, 0], part.shape[1], part.shape[0]))
        return part

    crop.resizes = [note]
    random = np.random.default_rng(0)
    for _ in range(count):
        crop(coordinates(height, width), random)
    return np.array(boxes, float).T


def test_random_crops_have_paddleclas_distribution():
    left, top, width, height = drawn_boxes(200, 240, 4000)
    ratio, area = width / height, width * height / (200 * 240)
    assert ratio.min() > 0.70
    assert ratio.max() < 1.40
    assert ratio.mean() == pytest.approx((3 / 4 + 4 / 3) / 2, abs=0.02)  # uniform, not log-uniform
    assert area.min() > 0.07
    # The upper bound is the largest crop of the ratio that fits, so that nothing is rejected.
    fits = np.minimum(240 / 200 / ratio, 200 / 240 * ratio)
    assert area.mean() == pytest.approx(((0.08 + np.minimum(fits, 1)) / 2).mean(), abs=0.02)
    for start, room in ((left, 240 - width), (top, 200 - height)):
        assert (start <= room).all()
        inner = room > 20
        assert (start[inner] / room[inner]).mean() == pytest.approx(0.5, abs=0.03)


def test_random_crops_respect_their_options():
    _, _, width, height = drawn_boxes(100, 100, 300, scale=[0.25, 0.25], ratio=[1.0, 1.0])
    assert set(width) == set(height) == {50.0}
    for options in ({"scale": [0.5]}, {"scale": []}, {"ratio": [2.0, 1.0]}, {"scale": [0.0, 1.0]}):
        with pytest.raises(ConfigError):
            RandCropImage(size=4, **options)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_random_crops_of_tiny_images_work(height, width):
    random = np.random.default_rng(0)
    for _ in range(50):
        assert RandCropImage(size=[5, 6])(noise(height, width), random).shape == (6, 5, 3)


@pytest.mark.parametrize(("code", "axes"), [(1, (1,)), (0, (0,)), (-1, (0, 1))])
def test_half_of_the_images_are_flipped(code, axes):
    image, random = noise(5, 6), np.random.default_rng(0)
    flipped = 0
    for _ in range(400):
        result = RandFlipImage(flip_code=code)(image, random)
        if (result == np.flip(image, axes)).all():
            flipped += 1
        else:
            assert (result == image).all()
    assert 160 < flipped < 240
    with pytest.raises(ConfigError):
        RandFlipImage(flip_code=2)


def test_random_transforms_draw_only_from_the_given_generator():
    compose = Compose([RandCropImage(size=16), RandFlipImage()])
    image = noise(40, 50)

    def results(seed):
        random = np.random.default_rng(seed)
        return [compose(image, random).tobytes() for _ in range(8)]

    first, state = results(1), np.random.get_state()[1].copy()
    assert results(2) != first
    assert (np.random.get_state()[1] == state).all()
    np.random.seed(99)
    assert results(1) == first
