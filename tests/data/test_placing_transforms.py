"""Crops, padding, rotations and erasing: exact pixels for given parameters, and PaddleClas's distributions."""

import cv2
import numpy as np
import pytest

from ppzoo.data import TRANSFORMS, Compose
from ppzoo.data.transforms import NormalizeImage, ToCHWImage
from ppzoo.data.transforms.erasing import Cutout, GridMask, HideAndSeek, RandomErasing
from ppzoo.data.transforms.rotation import RandomRotation
from ppzoo.errors import ConfigError, DataError

SEEDS = range(40)


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(1, 256, (height, width, channels), dtype=np.uint8)


def run(name, image, seed=0, **options):
    return TRANSFORMS[name](**options)(image, np.random.default_rng(seed))


def coordinates(height, width):
    """An image whose first two channels are the coordinates of a pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(x)], axis=2).astype(np.uint8)


def test_random_crop_v2_reaches_every_position():
    seen = set()
    for seed in range(300):
        crop = run("RandCropImageV2", coordinates(6, 7), seed, size=[5, 4])
        assert crop.shape == (4, 5, 3)
        seen.add((int(crop[0, 0, 0]), int(crop[0, 0, 1])))
    assert seen == {(top, left) for top in range(3) for left in range(3)}
    assert (run("RandCropImageV2", noise(4, 5), size=[5, 4]) == noise(4, 5)).all()
    with pytest.raises(DataError, match=r"at least 5 x 4 .*, got 5 x 3"):
        run("RandCropImageV2", noise(3, 5), size=[5, 4])


def test_crop_image_at_ratio_crops_a_fraction_of_the_shorter_side():
    image = noise(100, 140)
    side = int(100 * 224 / 256)
    top, left = (100 - side) // 2, (140 - side) // 2
    expected = cv2.resize(image[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_LINEAR)
    assert (run("CropImageAtRatio", image, size=224, pad=32) == expected).all()


@pytest.mark.parametrize(
    ("padding", "widths"), [(2, (2, 2, 2, 2)), ([1, 3], (3, 3, 1, 1)), ([1, 2, 3, 4], (2, 4, 1, 3)), (0, (0, 0, 0, 0))]
)
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_pad_adds_the_given_width_on_each_side(padding, widths, mode):
    image = noise(6, 7)
    borders = dict(zip(("top", "bottom", "left", "right"), widths, strict=True))
    codes = {
        "constant": cv2.BORDER_CONSTANT,
        "edge": cv2.BORDER_REPLICATE,
        "reflect": cv2.BORDER_REFLECT_101,
        "symmetric": cv2.BORDER_REFLECT,
    }
    expected = cv2.copyMakeBorder(image, *borders.values(), codes[mode], value=(7, 7, 7))
    assert (run("Pad", image, padding=padding, fill=7, padding_mode=mode) == expected).all()


def test_pad_fills_with_a_color_and_keeps_the_number_of_channels():
    padded = run("Pad", noise(2, 2), padding=1, fill=[1, 2, 3])
    assert padded[0, 0].tolist() == [1, 2, 3]
    assert run("Pad", noise(2, 2, 1), padding=1).shape == (4, 4, 1)


def test_padv2_pads_to_a_size_or_to_multiples():
    image = noise(40, 33)
    for options, shape, place in (
        ({"size": 64}, (64, 64), (0, 0)),
        ({"size": [50, 60], "pad_mode": 1}, (60, 50), (10, 8)),
        ({"size": [50, 60], "pad_mode": 2}, (60, 50), (20, 17)),
        ({"size": 64, "pad_mode": -1, "offsets": [3, 5]}, (64, 64), (5, 3)),
        ({}, (64, 64), (0, 0)),
        ({"size_divisor": 8, "pad_mode": 1}, (40, 40), (0, 3)),
    ):
        filled = run("Padv2", image, **options)
        assert (filled.shape[:2], filled.dtype) == (shape, np.float32)
        top, left = place
        inner = filled[top : top + 40, left : left + 33].copy()
        assert (inner == image).all()
        filled[top : top + 40, left : left + 33] = 127.5
        assert (filled == 127.5).all()
    with pytest.raises(DataError, match="does not fit into 32 x 32"):
        run("Padv2", image, size=32)


def test_rotations_by_90_degrees_are_equally_frequent():
    image, counts = noise(3, 5), np.zeros(4, int)
    for seed in range(400):
        turned = run("RandomRot90", image, seed)
        for quarter in range(4):
            expected = np.rot90(image, quarter)
            counts[quarter] += turned.shape == expected.shape and bool((turned == expected).all())
    assert counts.sum() == 400
    assert counts.min() > 70


def test_rotations_equal_opencvs_and_can_expand_the_image():
    image = noise(9, 9)
    turned = RandomRotation(degrees=90, expand=True).rotate(noise(4, 8), 90)
    assert turned.shape == (8, 4, 3)
    matrix = cv2.getRotationMatrix2D((4.5, 4.5), 33.0, 1)
    expected = cv2.warpAffine(image, matrix, (9, 9), flags=cv2.INTER_LINEAR, borderValue=(9, 9, 9))
    assert (RandomRotation(degrees=40, interpolation="bilinear", fill=9).rotate(image, 33.0) == expected).all()
    kept = sum((run("RandomRotation", image, seed, degrees=[30, 31]) == image).all() for seed in range(200))
    assert 70 < kept < 130
    assert run("RandomRotation", noise(6, 6, 1), degrees=[45, 45], prob=1.0).shape == (6, 6, 1)


def erased_boxes(count=400, height=60, width=80, **options):
    """Height and width of what was erased of an image without zeros; None where nothing was."""
    boxes = []
    for seed in range(count):
        gone = (run("RandomErasing", noise(height, width), seed, **options) == 0).all(axis=2)
        rows, columns = np.flatnonzero(gone.any(axis=1)), np.flatnonzero(gone.any(axis=0))
        if len(rows):
            assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            boxes.append((len(rows), len(columns)))
    return np.array(boxes, float)


@pytest.mark.parametrize("use_log_aspect", [False, True])
def test_erased_rectangles_have_the_configured_area_and_ratio(use_log_aspect):
    boxes = erased_boxes(sl="1.0/50.0", sh=0.1, r1=0.5, use_log_aspect=use_log_aspect)
    assert 150 < len(boxes) < 250
    area, ratio = boxes[:, 0] * boxes[:, 1] / 4800, boxes[:, 0] / boxes[:, 1]
    assert area.min() > 0.015
    assert area.max() < 0.11
    assert area.mean() == pytest.approx(0.06, abs=0.006)
    assert ratio.mean() == pytest.approx(1.08 if use_log_aspect else 1.25, abs=0.08)


def test_erasing_fills_with_the_mean_or_with_noise():
    image = noise(30, 30)
    erased = run("RandomErasing", image, EPSILON=1.0, mean=[7, 8, 9])
    assert [7, 8, 9] in erased.reshape(-1, 3).tolist()
    floats = NormalizeImage(order="")(image, np.random.default_rng(0))
    for mode in ("rand", "pixel"):
        changed = run("RandomErasing", floats, EPSILON=1.0, mode=mode) != floats
        values = run("RandomErasing", floats, EPSILON=1.0, mode=mode)[changed.all(axis=2)]
        assert (len(np.unique(values[:, 0])) > 1) == (mode == "pixel")
        with pytest.raises(DataError, match="after NormalizeImage"):
            run("RandomErasing", image, EPSILON=1.0, mode=mode)


def test_erasing_works_with_one_and_four_channels_and_channels_first():
    wide = NormalizeImage(order="", channel_num=4)(noise(20, 20), np.random.default_rng(0))
    erased = run("RandomErasing", wide, EPSILON=1.0, mean=[5, 6, 7])
    assert not erased[:, :, 3].any()
    assert [5, 6, 7, 0] in erased.reshape(-1, 4).tolist()
    assert (run("RandomErasing", noise(20, 20, 1), EPSILON=1.0) == 0).any()
    first = ToCHWImage()(noise(20, 30), np.random.default_rng(0))
    for name in ("RandomErasing", "Cutout", "HideAndSeek", "GridMask"):
        options = {"RandomErasing": {"EPSILON": 1.0}, "GridMask": {"d1": 4, "d2": 9}}.get(name, {})
        last = run(name, noise(20, 30), 3, **options)
        np.testing.assert_array_equal(run(name, first, 3, **options), last.transpose(2, 0, 1))


def test_cutout_sets_squares_to_zero_clipped_at_the_edge():
    sides = set()
    for seed in SEEDS:
        gone = (Cutout(length=8)(noise(30, 40), np.random.default_rng(seed)) == 0).all(axis=2)
        rows, columns = gone.any(axis=1).sum(), gone.any(axis=0).sum()
        assert gone.sum() == rows * columns
        sides |= {rows, columns}
    assert max(sides) == 8
    assert min(sides) >= 4
    two = (Cutout(length=6, n_holes=2)(noise(100, 100), np.random.default_rng(1)) == 0).all(axis=2)
    assert 36 < two.sum() <= 72


def test_hide_and_seek_hides_about_half_of_the_squares():
    """PaddleClas's transform confuses the axes, and hides three columns of the images of its recipe."""
    hidden, untouched = [], 0
    for seed in range(200):
        gone = (HideAndSeek()(noise(112, 112), np.random.default_rng(seed)) == 0).all(axis=2)
        untouched += not gone.any()
        if gone.any():
            hidden.append(gone.mean())
    assert 20 < untouched < 70
    assert np.mean(hidden) == pytest.approx(0.5, abs=0.06)


def test_grid_mask_equals_a_loop_implementation():
    height, width, spacing, top, left, ratio = 31, 44, 10, 3, 7, 0.4
    mask = np.ones((int(1.5 * height), int(1.5 * width)))
    for index in range(-1, 10):
        for axis, start in ((0, top), (1, left)):
            low = max(spacing * index + start, 0)
            high = max(spacing * index + start + int(spacing * ratio + 0.5), 0)
            mask[(slice(low, high), slice(None)) if axis == 0 else (slice(None), slice(low, high))] = 0
    above, before = (int(1.5 * height) - height) // 2, (int(1.5 * width) - width) // 2
    expected = mask[above : above + height, before : before + width]
    np.testing.assert_array_equal(GridMask(ratio=ratio).mask(height, width, spacing, top, left, 0), expected)


def test_grid_mask_changes_every_image_and_mode_1_is_the_complement():
    image = noise(64, 64)
    for seed in SEEDS:
        options = {"d1": 12, "d2": 20, "rotate": 30}
        stripes = run("GridMask", image, seed, **options)
        between = run("GridMask", image, seed, mode=1, **options)
        assert ((stripes == 0) != (between == 0)).all()
        assert (stripes == 0).mean() == pytest.approx(0.75, abs=0.1)
    untouched = sum((run("GridMask", image, seed, prob=0.5) == image).all() for seed in range(200))
    assert 70 < untouched < 130


def test_the_input_is_not_modified():
    image = noise(50, 50)
    before = image.copy()
    for transform in (RandomErasing(EPSILON=1.0), Cutout(length=9), HideAndSeek(), GridMask(d1=5, d2=9)):
        for seed in SEEDS:
            transform(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RandCropImageV2", {"size": 0}),
        ("CropImageAtRatio", {"size": 0, "pad": 3}),
        ("CropImageAtRatio", {"size": 8, "pad": -1}),
        ("Pad", {"padding": [1, 2, 3]}),
        ("Pad", {"padding": -1}),
        ("Pad", {"padding": 1, "fill": [1, 2]}),
        ("Padv2", {"size": 4, "pad_mode": -1}),
        ("Padv2", {"size": 4, "offsets": [1, 1]}),
        ("Padv2", {"size": 4, "pad_mode": 3}),
        ("RandomRotation", {"degrees": -1}),
        ("RandomRotation", {"degrees": 5, "prob": 1.5}),
        ("RandomRotation", {"degrees": 5, "interpolation": "cubic"}),
        ("RandomErasing", {"EPSILON": 2}),
        ("RandomErasing", {"sl": 0.5, "sh": 0.4}),
        ("RandomErasing", {"r1": 3}),
        ("RandomErasing", {"sh": "__import__('os')"}),
        ("RandomErasing", {"mean": [0, 0]}),
        ("Cutout", {"n_holes": 0}),
        ("GridMask", {"d1": 9, "d2": 9}),
        ("GridMask", {"mode": 2}),
    ],
)
def test_invalid_options_are_rejected(name, options):
    with pytest.raises(ConfigError):
        TRANSFORMS[name](**options)


def test_all_transforms_draw_only_from_the_given_generator():
    ops = [
        ("RandCropImageV2", {"size": 40}),
        ("RandomRot90", {}),
        ("ColorJitter", {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.4}),
        ("RandomGrayscale", {"p": 0.5}),
        ("BlurImage", {}),
        ("AutoAugment", {}),
        ("RandAugment", {}),
        ("RandAugmentV2", {}),
        ("TimmAutoAugment", {}),
        ("TimmAutoAugment", {"config_str": "augmix"}),
        ("AugMix", {}),
        ("RandomRotation", {"degrees": 20}),
        ("NormalizeImage", {"order": ""}),
        ("PCALighting", {}),
        ("RandomErasing", {}),
        ("Cutout", {"length": 8}),
        ("HideAndSeek", {}),
        ("GridMask", {"d1": 9, "d2": 16}),
    ]
    compose = Compose([TRANSFORMS[name](**options) for name, options in ops])
    image = noise(50, 60)

    def results(seed):
        random = np.random.default_rng(seed)
        return [compose(image, random).tobytes() for _ in range(6)]

    first, state = results(1), np.random.get_state()[1].copy()
    assert results(2) != first
    assert (np.random.get_state()[1] == state).all()
    np.random.seed(99)
    assert results(1) == first
