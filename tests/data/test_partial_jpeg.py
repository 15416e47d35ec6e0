"""Decoding a part of a JPEG gives the pixels, and the errors, of decoding all of it."""

import io
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from helpers.compiled_code import require_compiled_code
from helpers.forks import succeeds_when_forked
from PIL import Image

from ppzoo.data import Compose
from ppzoo.data.compiled import library, partial_jpeg
from ppzoo.data.transforms import CropImage, DecodeImage, RandCropImage, ResizeImage
from ppzoo.data.transforms.jpeg_header import is_turned, read_jpeg_header
from ppzoo.errors import DataError

FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}
FOLLOWERS = [
    [RandCropImage(size=24)],
    [RandCropImage(size=24, interpolation="bicubic")],
    [RandCropImage(size=24, backend="pil")],
    [ResizeImage(resize_short=40), CropImage(size=32)],
    [ResizeImage(size=[90, 30]), CropImage(size=16)],
    [ResizeImage(size=300), CropImage(size=[20, 290])],
]


@pytest.fixture(autouse=True)
def decoder(monkeypatch):
    require_compiled_code(monkeypatch)
    if not partial_jpeg.is_available():
        pytest.skip("the compiled code does not support this version of OpenCV")


@pytest.fixture
def parts(monkeypatch):
    """Count the images that are decoded in part."""
    counted = []

    def counting(decode):
        def count(*given):
            result = decode(*given)
            if result is not None:
                counted.append(True)
            return result

        return count

    for name in ("decode_part", "decode_resized"):
        monkeypatch.setattr(partial_jpeg, name, counting(getattr(partial_jpeg, name)))
    return counted


def noise(random, width, height):
    """Pixels with detail at a random scale."""
    coarse = random.integers(0, 256, (max(height // int(random.integers(1, 6)), 1), width // 2 + 1, 3), np.uint8)
    return cv2.resize(coarse, (width, height))


def encode(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def photo(seed=0, width=200, height=150, **options):
    return encode(noise(np.random.default_rng(seed), width, height), **options)


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
@pytest.mark.parametrize("progressive", [0, 1])
def test_every_part_is_bit_identical_to_opencv(sampling, progressive):
    random = np.random.default_rng(int(sampling))
    for _ in range(40):
        width, height = (int(side) for side in random.integers(1, 200, 2))
        options = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(20, 100)), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")]
        options += [cv2.IMWRITE_JPEG_RST_INTERVAL, int(random.integers(0, 4))]
        data = cv2.imencode(".jpg", noise(random, width, height), options)[1].tobytes()
        for divisor, flags in FLAGS.items():
            expected = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            rows, columns = expected.shape[:2]
            left, top = int(random.integers(columns)), int(random.integers(rows))
            right, bottom = int(random.integers(left + 1, columns + 1)), int(random.integers(top + 1, rows + 1))
            found = partial_jpeg.decode_part(data, (columns, rows), (left, top, right, bottom), divisor)
            assert found.shape == expected.shape
            np.testing.assert_array_equal(found[top:bottom, left:right], expected[top:bottom, left:right])


@pytest.mark.parametrize("crop", FOLLOWERS)
@pytest.mark.parametrize("decode", [{}, {"to_rgb": False}])
def test_crops_are_bit_identical_to_those_of_complete_images(parts, crop, decode):
    for seed in range(10):
        data = photo(seed, 180 + seed, 190 - 5 * seed, subsampling=["4:2:0", "4:4:4"][seed % 2])
        expected = DecodeImage(**decode)(data, None)
        random, other = np.random.default_rng(seed), np.random.default_rng(seed)
        for transform in crop:
            expected = transform(expected, other)
        np.testing.assert_array_equal(Compose([DecodeImage(**decode), *crop])(data, random), expected)
        assert random.random() == other.random()  # the next transforms draw the same numbers
    assert parts == [True] * 10


@pytest.mark.parametrize("needed", [0.25, 0.5, 1])
def test_reduced_crops_are_bit_identical_to_those_of_complete_images(parts, needed, monkeypatch):
    files = [photo(seed) for seed in range(10)]

    def crops():
        compose = Compose([DecodeImage(reduced=needed), RandCropImage(size=24)])
        return [compose(data, np.random.default_rng(seed)) for seed, data in enumerate(files)]

    found = crops()
    assert parts == [True] * 10
    monkeypatch.setattr(partial_jpeg, "is_available", lambda: False)
    np.testing.assert_array_equal(found, crops())


def of_gray():
    return encode(np.zeros((150, 200), np.uint8))


def of_cmyk():
    file = io.BytesIO()
    Image.fromarray(noise(np.random.default_rng(0), 200, 150)).convert("CMYK").save(file, "JPEG")
    return file.getvalue()


def turned(orientation, **options):
    exif = Image.Exif()
    exif[0x112] = orientation
    return photo(exif=exif, **options)


OTHER_FILES = {
    "gray": of_gray,
    "CMYK": of_cmyk,
    "RGB": lambda: photo(keep_rgb=True),
    "turned": lambda: turned(6),
    "mirrored": lambda: turned(2),
    "truncated": lambda: photo()[:-2000],
    "truncated, with an end": lambda: photo()[:-2000] + b"\xff\xd9",
    "wrong codes": lambda: photo()[:3000] + bytes(200) + photo()[3200:],
    "without tables": lambda: photo().replace(b"\xff\xc4", b"\xff\xfe"),
    "without quantization": lambda: photo().replace(b"\xff\xdb", b"\xff\xfe"),
    "more bytes": lambda: photo() + b"more",
    "PNG": lambda: cv2.imencode(".png", noise(np.random.default_rng(0), 200, 150))[1].tobytes(),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_and_damaged_files_give_the_same_pixels_or_error(name, monkeypatch):
    data = OTHER_FILES[name]()

    def crop(seed):
        try:
            return Compose([DecodeImage(), RandCropImage(size=24)])(data, np.random.default_rng(seed))
        except DataError as error:
            return str(error)

    found = [crop(seed) for seed in range(20)]
    monkeypatch.setattr(partial_jpeg, "is_available", lambda: False)
    for seed, result in enumerate(found):
        np.testing.assert_array_equal(result, crop(seed))


def test_random_damage_gives_the_pixels_of_opencv_or_nothing():
    random = np.random.default_rng(0)
    complete = np.frombuffer(photo(quality=80), np.uint8)

    def check():
        equal = 0
        for number in range(300):
            damaged = complete.copy()
            end = len(damaged) - 2 if number % 2 else 700
            damaged[random.integers(2, end, 4)] = random.integers(0, 256, 4)
            found = partial_jpeg.decode_part(damaged.tobytes(), (200, 150), (60, 50, 150, 120))
            expected = cv2.imdecode(damaged, cv2.IMREAD_COLOR_RGB)
            if found is not None and expected is not None:
                assert np.array_equal(found[50:120, 60:150], expected[50:120, 60:150])
                equal += 1
        return equal > 30

    assert succeeds_when_forked(check)


def test_an_exif_segment_without_orientation_is_decoded_in_part(parts):
    for data in (turned(1), photo(exif=Image.Exif())):
        assert not is_turned(data, read_jpeg_header(data))
        Compose([DecodeImage(), RandCropImage(size=24)])(data, np.random.default_rng(0))
    assert parts == [True, True]
    assert all(is_turned(data, read_jpeg_header(data)) for data in map(turned, range(2, 9)))


@pytest.mark.parametrize("bounds", [(0, 0, 201, 9), (0, 0, 9, 151), (5, 5, 5, 9), (5, 5, 9, 5)])
def test_parts_outside_the_image_and_other_sizes_are_not_decoded(bounds):
    assert partial_jpeg.decode_part(photo(), (200, 150), (0, 0, 9, 9)) is not None
    if bounds[2] <= 200:
        assert partial_jpeg.decode_part(photo(), (200, 150), bounds) is None or bounds[0] == bounds[2]
    assert partial_jpeg.decode_part(photo(), (201, 150), (0, 0, 9, 9)) is None
    assert partial_jpeg.decode_part(photo(), (100, 75), (0, 0, 9, 9)) is None


def run_in_new_process(home, code, **variables):
    """Run code in a process without a loaded decoder; return what it prints."""
    text = f"import logging; logging.basicConfig(level=20, format='%(message)s')\n{code}"
    environment = {**os.environ, "PPZOO_HOME": str(home), **variables}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment, check=True)
    return done.stdout + done.stderr


IS_AVAILABLE = "from ppzoo.data.compiled import partial_jpeg; print(partial_jpeg.is_available())"
PREPARE = f"from ppzoo.data.compiled import library; library.prepare(); library.prepare(); {IS_AVAILABLE}"


def test_the_decoder_is_compiled_once_and_only_for_training(tmp_path):
    assert run_in_new_process(tmp_path, IS_AVAILABLE) == "False\n"
    assert not list(tmp_path.iterdir())
    assert "compiled the code for reading images into" in run_in_new_process(tmp_path, PREPARE)
    assert run_in_new_process(tmp_path, PREPARE) == "True\n"
    assert run_in_new_process(tmp_path, PREPARE, PPZOO_NATIVE="off") == "False\n"
    (file,) = tmp_path.rglob(library.LIBRARY)
    file.write_bytes(file.read_bytes()[:1000])
    assert "True\n" in run_in_new_process(tmp_path, PREPARE)
    file.chmod(0o777)
    printed = run_in_new_process(tmp_path, PREPARE)
    assert "False\n" in printed and "expected a file or folder that only you can write" in printed


def test_without_a_compiler_complete_images_are_decoded(tmp_path):
    assert run_in_new_process(tmp_path, PREPARE, CXX="no-compiler") == (
        "False\nreading images without compiled code: no C++ compiler (install g++ or set CXX)\n"
    )
    assert "false failed: ?" in run_in_new_process(tmp_path, PREPARE, CXX=shutil.which("false"))
