"""Resizing by compiled code, in memory or while a JPEG is decoded, gives the pixels of OpenCV."""

import cv2
import numpy as np
import pytest
from helpers.compiled_code import require_compiled_code

from ppzoo.data.compiled import partial_jpeg
from ppzoo.data.compiled.resizing import Axis, Resizing, complete_axis, exact_library, resize
from ppzoo.data.transforms.geometry import Resize


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    require_compiled_code(monkeypatch)
    if exact_library() is None:
        pytest.skip("the compiled code does not support this processor or version of OpenCV")


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def of_size(image, width, height):
    return Resizing(complete_axis(0, image.shape[1], width), complete_axis(0, image.shape[0], height))


def test_any_sizes_are_bit_identical():
    random, supported = np.random.default_rng(0), 0
    for seed in range(400):
        rows, columns, height, width = (int(side) for side in random.integers(1, [400, 400, 260, 260]))
        image = noise(rows, columns, seed=seed)
        expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        found = resize(image, of_size(image, width, height))
        if found is not None:
            supported += 1
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(Resize("bilinear", "cv2")(image, width, height), expected)
    assert supported > 250


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_constant_images_are_bit_identical(value):
    image = np.full((97, 113, 3), value, np.uint8)
    for width, height in ((64, 64), (113, 97), (250, 40), (40, 250), (112, 96)):
        np.testing.assert_array_equal(resize(image, of_size(image, width, height)), cv2.resize(image, (width, height)))


def test_parts_of_an_image_are_resized_without_a_copy():
    image = noise(200, 301)
    part = image[13:170, 20:245]
    np.testing.assert_array_equal(resize(part, of_size(part, 96, 96)), cv2.resize(part, (96, 96)))
    axes = Resizing(complete_axis(20, 225, 96), complete_axis(13, 157, 96))
    np.testing.assert_array_equal(resize(image, axes), cv2.resize(part, (96, 96)))


def test_half_the_size_is_left_to_opencv_which_averages_areas():
    image = noise(128, 96)
    assert resize(image, of_size(image, 48, 64)) is None
    np.testing.assert_array_equal(Resize(None, "cv2")(image, 48, 64), cv2.resize(image, (48, 64)))


@pytest.mark.parametrize(
    "image",
    [noise(50, 60, 1), noise(50, 60, 4), noise(50, 60)[:, :, ::-1], noise(50, 60)[::-1], noise(50, 120)[:, ::2]],
)
def test_other_layouts_are_left_to_opencv(image):
    assert resize(image, of_size(image, 40, 40)) is None
    expected = cv2.resize(image, (40, 40)).reshape(40, 40, image.shape[2])
    np.testing.assert_array_equal(Resize(None, "cv2")(image, 40, 40), expected)


VALID = Axis(2.5, 0, 100, 0, 40, 0, 100)


@pytest.mark.parametrize(
    "changes",
    [
        *({"scale": scale} for scale in (0.0, -1.0, float("nan"), float("inf"), 1e300)),
        *({"origin": origin} for origin in (-1, 1, 2**31 - 1)),
        *({"length": length} for length in (0, -5, 99, 2**31 - 1)),
        *({"first": first} for first in (-1, 2**31 - 1)),
        *({"outputs": outputs} for outputs in (0, 2**17)),
        *({"begin": begin} for begin in (-1, 100, 5)),
        *({"end": end} for end in (0, 95, 101, 2**31 - 1)),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_axes_outside_the_image_are_rejected_by_the_compiled_code(changes, place):
    axes = [VALID, VALID]
    axes[place] = VALID._replace(**changes)
    image, result = noise(100, 100), np.zeros((100, 100, 3), np.uint8)
    packed = Resizing(*axes).pack()
    loaded = exact_library()
    assert loaded.ppzoo_resize(image.ctypes.data, 300, Resizing(VALID, VALID).pack(), result.ctypes.data) == 0
    result[:] = 0
    assert loaded.ppzoo_resize(image.ctypes.data, 300, packed, result.ctypes.data) == 1
    data = cv2.imencode(".jpg", image)[1].tobytes()
    assert loaded.ppzoo_decode_resized(data, len(data), 1, 100, 100, packed, result.ctypes.data) == 1
    assert not result.any()


@pytest.mark.parametrize("sampling", ["420", "422", "444"])
@pytest.mark.parametrize("progressive", [0, 1])
def test_decoding_and_resizing_is_bit_identical(sampling, progressive):
    random, supported = np.random.default_rng(int(sampling)), 0
    for seed in range(60):
        rows, columns = (int(side) for side in random.integers(1, 300, 2))
        options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_QUALITY, int(random.integers(20, 100))]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")]
        data = cv2.imencode(".jpg", noise(rows, columns, seed=seed), options)[1].tobytes()
        left, top = int(random.integers(columns)), int(random.integers(rows))
        width, height = int(random.integers(columns - left)) + 1, int(random.integers(rows - top)) + 1
        outputs = tuple(int(side) for side in random.integers(1, 130, 2))
        axes = Resizing(complete_axis(left, width, outputs[0]), complete_axis(top, height, outputs[1]))
        found = partial_jpeg.decode_resized(data, (columns, rows), axes)
        if found is not None:
            complete = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            expected = cv2.resize(complete[top : top + height, left : left + width], outputs)
            np.testing.assert_array_equal(found, expected)
            supported += 1
    assert supported > 30
