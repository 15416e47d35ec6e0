"""Batches are bit-identical to those of OpenCV and NumPy, with and without compiled code."""

import io

import cv2
import numpy as np
import pytest
from helpers.compiled_code import require_compiled_code
from PIL import Image

from ppzoo.data import Compose, Samples
from ppzoo.data.batch_reader import BatchId, BatchReader, BatchRequest
from ppzoo.data.compiled import library
from ppzoo.data.transforms import CropImage, DecodeImage, NormalizeImage, RandCropImage, RandFlipImage, ResizeImage

KEYS = [(epoch, index) for epoch in (0, 3) for index in range(6)]
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


class Files:
    """A dataset of encoded images in memory."""

    def __init__(self, files):
        self.files, self.labels, self.classes = files, np.arange(len(files)), None

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.files[index], index

    def describe(self, index):
        return str(index)


@pytest.fixture(params=["compiled", "not compiled"])
def code(request, monkeypatch):
    """Run a test with the compiled code and without it."""
    if request.param == "compiled":
        require_compiled_code(monkeypatch)
    else:
        monkeypatch.setenv(library.SWITCH, "off")
    return request.param


def encode(pixels, form="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def noise(seed, width, height, *channels):
    return np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)


def turned(pixels):
    exif = Image.Exif()
    exif[0x112] = 6
    return encode(pixels, exif=exif)


def cmyk(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(file, "JPEG")
    return file.getvalue()


KINDS = {
    "4:2:0": lambda seed: encode(noise(seed, 181, 143, 3), subsampling="4:2:0"),
    "4:4:4": lambda seed: encode(noise(seed, 97, 211, 3), subsampling="4:4:4", quality=95),
    "progressive": lambda seed: encode(noise(seed, 150, 111, 3), progressive=True),
    "narrow": lambda seed: encode(noise(seed, seed + 1, 37 - 6 * seed, 3)),
    "one pixel": lambda seed: encode(noise(seed, 1, 1, 3)),
    "gray": lambda seed: encode(noise(seed, 101, 99)),
    "CMYK": lambda seed: cmyk(noise(seed, 101, 99, 3)),
    "EXIF": lambda seed: turned(noise(seed, 101, 77, 3)),
    "PNG": lambda seed: encode(noise(seed, 75, 131, 3), "PNG"),
}


def decode(data):
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) if pixels is None else pixels


def random_crop(image, size, random):
    """Draw as `RandCropImage` does; crop and resize with OpenCV."""
    window = RandCropImage(size=size).window(*image.shape[:2], random)
    part = image[window.top : window.top + window.height, window.left : window.left + window.width]
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)


def center_crop(image, size, random):
    factor = (size + 8) / min(image.shape[:2])
    columns, rows = round(image.shape[1] * factor), round(image.shape[0] * factor)
    resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    top, left = (rows - size) // 2, (columns - size) // 2
    return resized[top : top + size, left : left + size]


CROPS = {
    "random": (random_crop, lambda size: [RandCropImage(size=size)]),
    "center": (center_crop, lambda size: [ResizeImage(resize_short=size + 8), CropImage(size=size)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(
    ("size", "flips", "in_process"), [(64, True, True), (33, True, True), (50, False, True), (47, True, False)]
)
def test_batches_are_bit_identical(code, kind, crop, size, flips, in_process):
    files = [KINDS[kind](seed) for seed in range(6)]
    reference, transforms = CROPS[crop][0], CROPS[crop][1](size)
    transforms = [DecodeImage(), *transforms, *([RandFlipImage()] if flips else []), NormalizeImage(order="")]
    samples = Samples(Files(files), Compose(transforms), seed=7)
    reader = BatchReader(samples, [], "raise")
    reader.normalizes = in_process
    result = reader(BatchRequest(BatchId(0, 0, 0), KEYS))
    images = result.arrays.images if result.normalized else samples.normalize(result.arrays.images)
    assert result.normalized == in_process
    for (epoch, index), image in zip(KEYS, images, strict=True):
        random = np.random.default_rng((7, epoch, index))
        expected = reference(decode(files[index]), size, random)
        if flips and random.integers(2):
            expected = expected[:, ::-1]
        expected = ((expected * np.float32(1 / 255) - MEAN) / STD).transpose(2, 0, 1)
        assert image.tobytes() == expected.astype(np.float32).tobytes()
        assert samples[epoch, index].image.tobytes() == image.tobytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 20, 47, 64])
def test_mirrored_batches_are_bit_identical(code, channels, width):
    images = [noise(seed, width, 11, channels) for seed in range(6)]
    normalize = NormalizeImage(mean=[0.4, 0.5, 0.6, 0.7][:channels], std=[0.2, 0.3, 0.4, 0.5][:channels], order="")
    samples = Samples(Files(images), Compose([RandFlipImage(), normalize]), seed=0)
    reader = BatchReader(samples, [], "raise")
    mirrored = reader(BatchRequest(BatchId(0, 0, 0), KEYS))
    reader.normalizes = True
    normalized = reader(BatchRequest(BatchId(0, 0, 0), KEYS)).arrays.images
    flipped = 0
    for (epoch, index), pixels, image in zip(KEYS, mirrored.arrays.images, normalized, strict=True):
        is_flipped = np.random.default_rng((0, epoch, index)).integers(2)
        expected = images[index][:, ::-1] if is_flipped else images[index]
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(samples.read((epoch, index)).image, expected)
        assert image.tobytes() == normalize(expected, None).transpose(2, 0, 1).tobytes()
        flipped += is_flipped
    assert 0 < flipped < len(KEYS)
