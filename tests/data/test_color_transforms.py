"""Color, blur and augmentation policies: pixels equal Pillow's, distributions those of PaddleClas and timm."""

from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from ppzoo.data import TRANSFORMS
from ppzoo.data.transforms import auto_augment, timm_augment
from ppzoo.data.transforms.auto_augment import AutoAugment, RandAugment, RandAugmentV2
from ppzoo.data.transforms.blur import motion_blur
from ppzoo.data.transforms.color import shift_hue
from ppzoo.data.transforms.operations import apply_operation
from ppzoo.data.transforms.policies import IMAGENET, V0, Step
from ppzoo.errors import ConfigError, DataError

GRAY = (128, 128, 128)


@pytest.fixture
def image():
    y, x = np.mgrid[:24, :36]
    return np.stack([y * 10, x * 7, (x + y) * 4], axis=2).astype(np.uint8)


@pytest.fixture
def pixels(image):
    return Image.fromarray(image)


def run(name, image, seed=0, **options):
    return TRANSFORMS[name](**options)(image, np.random.default_rng(seed))


def same(found, expected):
    return bool((np.asarray(found) == np.asarray(expected)).all())


def test_operations_equal_pillows(pixels):
    assert same(apply_operation(pixels, "Posterize", 3), ImageOps.posterize(pixels, 3))
    assert same(apply_operation(pixels, "Solarize", 100), ImageOps.solarize(pixels, 100))
    assert same(apply_operation(pixels, "Invert", 0), ImageOps.invert(pixels))
    assert same(apply_operation(pixels, "Equalize", 0), ImageOps.equalize(pixels))
    assert same(apply_operation(pixels, "AutoContrast", 0), ImageOps.autocontrast(pixels))
    assert same(apply_operation(pixels, "Sharpness", 1.7), ImageEnhance.Sharpness(pixels).enhance(1.7))
    array = np.asarray(pixels).astype(int)
    assert same(apply_operation(pixels, "SolarizeAdd", 50), np.where(array < 128, np.minimum(array + 50, 255), array))
    shifted = np.full_like(np.asarray(pixels), 128)
    shifted[:, :-5] = np.asarray(pixels)[:, 5:]
    assert same(apply_operation(pixels, "TranslateX", 5), shifted)
    # PaddleClas rotates the image with an alpha channel, and pastes the result on gray.
    turned = pixels.convert("RGBA").rotate(20)
    expected = Image.composite(turned, Image.new("RGBA", turned.size, (128,) * 4), turned).convert("RGB")
    assert same(apply_operation(pixels, "Rotate", 20), expected)
    sheared = pixels.transform(
        pixels.size, Image.Transform.AFFINE, (1, 0, 0, 0.2, 1, 0), Image.Resampling.BICUBIC, fillcolor=GRAY
    )
    assert same(apply_operation(pixels, "ShearY", 0.2, resample=Image.Resampling.BICUBIC), sheared)


def test_the_policies_are_complete():
    assert (len(IMAGENET), len(V0)) == (25, 25)
    assert all(len(pair) == 2 for pair in IMAGENET + V0)
    assert IMAGENET[17] == [Step("Sharpness", 0.4, 7), Step("Invert", 0.6, 8)]
    assert V0[15] == [Step("Rotate", 1.0, 7), Step("TranslateY", 0.8, 9)]


@pytest.mark.parametrize(
    ("operation", "amounts"),
    [
        ("Posterize", [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]),
        ("Solarize", np.linspace(256, 0, 10)),
        ("Rotate", np.linspace(0, 30, 10)),
        ("TranslateX", np.linspace(0, 150 / 331, 10)),
        ("Color", np.linspace(0, 0.9, 10)),
        ("ShearY", np.linspace(0, 0.3, 10)),
    ],
)
def test_auto_augment_magnitudes_equal_the_tables(operation, amounts):
    found = [AutoAugment.amount(Step(operation, 1.0, magnitude)) for magnitude in range(10)]
    np.testing.assert_allclose(found, amounts, rtol=1e-12)


def test_auto_augment_draws_pairs_and_probabilities(image, monkeypatch):
    drawn = Counter()
    monkeypatch.setattr(
        auto_augment,
        "apply_signed_operation",
        lambda pixels, name, *rest: (drawn.update([name]), pixels)[1],
        raising=True,
    )
    random, transform = np.random.default_rng(0), AutoAugment()
    for _ in range(4000):
        transform(image, random)
    expected = Counter()
    for pair in IMAGENET:
        for step in pair:
            expected[step.operation] += step.probability / 25 * 4000
    assert drawn.keys() == expected.keys()
    for name, count in expected.items():
        assert drawn[name] == pytest.approx(count, abs=4 * count**0.5), name


@pytest.mark.parametrize(("transform", "operations"), [(RandAugment, 14), (RandAugmentV2, 16)])
def test_rand_augment_draws_operations_uniformly_with_replacement(image, transform, operations):
    names = []
    augment = transform(num_layers=3, magnitude=4)
    augment.apply = lambda pixels, name, random: (names.append(name), pixels)[1]
    random = np.random.default_rng(0)
    for _ in range(1600):
        augment(image, random)
    counts = Counter(names)
    assert (len(names), len(counts)) == (4800, operations)
    assert min(counts.values()) > 0.8 * 4800 / operations
    assert any(len(set(names[start : start + 3])) < 3 for start in range(0, 4800, 3))


def test_rand_augment_amounts_equal_paddleclas():
    amounts = RandAugment(magnitude=5).amounts
    assert amounts["ShearX"] == pytest.approx(0.15)
    assert amounts["TranslateY"] == pytest.approx(75 / 331)
    assert (amounts["Posterize"], amounts["Solarize"], amounts["Rotate"]) == (2, 128, 15)
    assert amounts["Contrast"] == pytest.approx(0.45)
    second = RandAugmentV2(magnitude=5).amounts
    assert (second["TranslateX"], second["SolarizeAdd"], second["Cutout"], second["Color"]) == (50, 55, 20, 1.0)


def test_colors_shears_and_translations_have_a_random_sign(pixels):
    random = np.random.default_rng(0)
    results = {auto_augment.apply_signed_operation(pixels, "Color", 0.5, GRAY, random).tobytes() for _ in range(20)}
    assert results == {ImageEnhance.Color(pixels).enhance(factor).tobytes() for factor in (0.5, 1.5)}
    results = {
        auto_augment.apply_signed_operation(pixels, "TranslateX", 0.25, GRAY, random).tobytes() for _ in range(20)
    }
    assert results == {apply_operation(pixels, "TranslateX", amount).tobytes() for amount in (-9, 9)}


def timm_amounts(monkeypatch, image, text, count=400):
    """The amounts with which each operation was called."""
    amounts = {}
    monkeypatch.setattr(
        timm_augment,
        "apply_operation",
        lambda pixels, name, amount, **rest: (amounts.setdefault(name, []).append(amount), pixels)[1],
    )
    transform, random = TRANSFORMS["TimmAutoAugment"](config_str=text), np.random.default_rng(0)
    for _ in range(count):
        transform(image, random)
    return amounts


def test_timm_increasing_magnitudes(monkeypatch, image):
    amounts = timm_amounts(monkeypatch, image, "rand-m9-inc1-n4")
    assert len(amounts) == 15
    assert set(amounts["Rotate"]) == {27.0, -27.0}
    assert set(amounts["Posterize"]) == {4 - int(0.9 * 4)}
    assert set(amounts["Solarize"]) == {256 - int(0.9 * 256)}
    assert sorted(set(amounts["Color"])) == pytest.approx([1 - 0.81, 1 + 0.81])
    assert sorted(set(amounts["TranslateX"])) == pytest.approx([-0.405 * 36, 0.405 * 36])
    assert sum(map(len, amounts.values())) == pytest.approx(800, abs=80)  # four operations, each with probability 1/2


def test_timm_plain_magnitudes_and_their_noise(monkeypatch, image):
    amounts = timm_amounts(monkeypatch, image, "rand-m5")
    assert set(amounts["Solarize"]) == {128}
    assert set(amounts["Brightness"]) == {1.0}
    noisy = timm_amounts(monkeypatch, image, "rand-m9-mstd0.5-n8")["Rotate"]
    degrees = np.abs(noisy)
    assert degrees.max() <= 30
    assert degrees.mean() == pytest.approx(27, abs=0.6)
    assert degrees.std() == pytest.approx(1.4, abs=0.3)


def test_timm_weights_exclude_some_operations(monkeypatch, image):
    amounts = timm_amounts(monkeypatch, image, "rand-m9-w0", count=600)
    assert not {"Posterize", "Invert"} & amounts.keys()
    assert len(amounts["Rotate"]) > len(amounts["ShearX"]) > len(amounts["TranslateX"]) > len(amounts["Color"])


def test_timm_auto_augment_policies_differ_in_posterizing(monkeypatch, image):
    assert set(timm_amounts(monkeypatch, image, "original")["Posterize"]) == {7, 6}  # 8 bits change nothing
    assert set(timm_amounts(monkeypatch, image, "originalr")["Posterize"]) == {1, 2}
    assert "SolarizeAdd" in timm_amounts(monkeypatch, image, "v0-mstd0.5")


def test_timm_probability_and_interpolation(image):
    assert all((run("TimmAutoAugment", image, seed, prob=0.0) == image).all() for seed in range(5))
    for text in ("rand-m9-mstd0.5-inc1", "augmix-m5-w4-d2", "original-mstd0.5", "v0r"):
        for interpolation in ("bilinear", "bicubic", "random", None):
            result = run("TimmAutoAugment", image, config_str=text, interpolation=interpolation)
            assert (result.shape, result.dtype) == (image.shape, np.uint8)


def test_augmix_stays_near_the_image_and_keeps_its_shape(image):
    results = [run("AugMix", image, seed, prob=1.0) for seed in range(30)]
    assert all((result.shape, result.dtype) == (image.shape, np.uint8) for result in results)
    assert len({result.tobytes() for result in results}) > 20
    untouched = sum((run("AugMix", image, seed) == image).all() for seed in range(200))
    assert 80 < untouched < 150
    assert run("AugMix", image, mixture_depth=-1, mixture_width=2, prob=1.0).shape == image.shape


def test_brightness_contrast_and_saturation_are_drawn_from_their_ranges(image, pixels):
    assert same(run("ColorJitter", image), image)
    for option, enhancer in (
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ):
        assert same(run("ColorJitter", image, **{option: [0.6, 0.6]}), enhancer(pixels).enhance(0.6))
    levels = [run("ColorJitter", np.full((2, 2, 3), 100, np.uint8), s, brightness=0.4).mean() for s in range(300)]
    assert min(levels) >= 59
    assert max(levels) <= 140
    assert np.mean(levels) == pytest.approx(100, abs=4)
    untouched = sum(same(run("ColorJitter", image, s, brightness=0.4, prob=0.5), image) for s in range(200))
    assert 70 < untouched < 130


def test_color_jitter_applies_its_changes_in_random_order(image, pixels):
    options = {"brightness": [1.5, 1.5], "contrast": [0.5, 0.5]}
    brighter = ImageEnhance.Contrast(ImageEnhance.Brightness(pixels).enhance(1.5)).enhance(0.5)
    flatter = ImageEnhance.Brightness(ImageEnhance.Contrast(pixels).enhance(0.5)).enhance(1.5)
    found = {run("ColorJitter", image, seed, **options).tobytes() for seed in range(20)}
    assert found == {brighter.tobytes(), flatter.tobytes()}


def test_a_hue_shift_keeps_brightness_and_is_periodic(pixels):
    red = Image.new("RGB", (1, 1), (200, 0, 0))
    assert np.argmax(np.asarray(shift_hue(red, 1 / 3))) == 1
    assert np.argmax(np.asarray(shift_hue(red, -1 / 3))) == 2
    turned = shift_hue(pixels, 0.4)
    hue, *rest = (np.asarray(band).astype(int) for band in pixels.convert("HSV").split())
    expected = Image.merge(
        "HSV", [Image.fromarray(band.astype(np.uint8)) for band in ((hue + int(0.4 * 255)) % 256, *rest)]
    ).convert("RGB")
    assert same(turned, expected)


def test_some_images_become_gray(image, pixels):
    gray = np.repeat(np.asarray(pixels.convert("L"))[:, :, np.newaxis], 3, axis=2)
    assert same(run("RandomGrayscale", image, p=1.0), gray)
    assert 5 < sum(same(run("RandomGrayscale", image, seed), gray) for seed in range(200)) < 40


def test_pca_lighting_adds_one_shift_with_the_given_covariance():
    floats = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    shifts = []
    for seed in range(3000):
        shift = run("PCALighting", floats, seed) - floats
        assert np.ptp(shift, axis=(0, 1)).max() < 1e-5
        shifts.append(shift[0, 0])
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    expected = vectors @ np.diag((0.1 * np.array([0.2175, 0.0188, 0.0045])) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(np.array(shifts).T), expected, rtol=0.15)
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=1e-3)
    first = run("PCALighting", floats.transpose(2, 0, 1), 5)
    np.testing.assert_array_equal(first, run("PCALighting", floats, 5).transpose(2, 0, 1))


def test_blur_is_gaussian_or_motion_blur_with_odd_kernels(image):
    gaussian = {cv2.GaussianBlur(image, (a, b), 0).tobytes() for a in (5, 7, 9, 11) for b in (5, 7, 9, 11)}
    shaken = {motion_blur(image, side, degrees).tobytes() for side in (5, 7, 9, 11) for degrees in range(-45, 45)}
    kinds = Counter()
    for seed in range(200):
        result = run("BlurImage", image, seed).tobytes()
        kinds["none" if result == image.tobytes() else "gaussian" if result in gaussian else "shaken"] += 1
        assert result == image.tobytes() or result in gaussian | shaken
    assert all(30 < kinds[kind] < 130 for kind in ("none", "gaussian", "shaken"))
    line = np.zeros((9, 9, 3), np.uint8)
    line[4, 4] = 255
    assert (np.flatnonzero(motion_blur(line, 5, 0)[:, :, 0].max(axis=1)) == [2, 3, 4, 5, 6]).all()


def test_blur_of_normalized_images_keeps_their_range(image):
    floats = (image.astype(np.float32) - 120) / 50
    for seed in range(60):
        result = run("BlurImage", floats, seed, ratio=1)
        assert result.dtype == np.float32
        assert result.shape == floats.shape
        assert floats.min() - 1e-4 <= result.min() < result.max() <= floats.max() + 1e-4
        assert (result != floats).any()


@pytest.mark.parametrize(
    "name", ["ColorJitter", "RandomGrayscale", "AutoAugment", "RandAugment", "TimmAutoAugment", "AugMix"]
)
def test_floating_point_images_are_rejected_with_a_fix(name, image):
    with pytest.raises(DataError, match=f"{name}.*put the transform before NormalizeImage"):
        run(name, image.astype(np.float32))


@pytest.mark.parametrize("name", ["ColorJitter", "RandomGrayscale", "AutoAugment", "RandAugmentV2", "AugMix"])
def test_gray_images_keep_one_channel(name, image):
    options = {"ColorJitter": {"hue": 0.3, "contrast": 0.3}, "RandomGrayscale": {"p": 1.0}}.get(name, {})
    for seed in range(20):
        assert run(name, image[:, :, :1], seed, **options).shape == (24, 36, 1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ColorJitter", {"hue": 0.6}),
        ("ColorJitter", {"brightness": -1}),
        ("ColorJitter", {"contrast": [2, 1]}),
        ("RandomGrayscale", {"p": 2}),
        ("BlurImage", {"motion_max_ksize": 5}),
        ("RandAugment", {"num_layers": -1}),
        ("AutoAugment", {"fillcolor": [1, 2]}),
        ("AugMix", {"aug_prob_coeff": 0}),
        ("AugMix", {"aug_severity": 11}),
        ("TimmAutoAugment", {"config_str": "auto"}),
        ("TimmAutoAugment", {"config_str": "rand-q5"}),
        ("TimmAutoAugment", {"config_str": "rand-m"}),
        ("TimmAutoAugment", {"config_str": "rand-w1"}),
        ("TimmAutoAugment", {"interpolation": "lanczos"}),
        ("TimmAutoAugment", {"mean": [128, 128, 128]}),
    ],
)
def test_options_out_of_range_are_rejected(name, options):
    with pytest.raises(ConfigError):
        TRANSFORMS[name](**options)
