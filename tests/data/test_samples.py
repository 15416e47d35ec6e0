"""A sample depends only on seed, epoch and index, and an error names its file."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ppzoo.data import Compose, FashionMNIST, ImageFolder, Samples
from ppzoo.data.transforms import (
    CropImage,
    DecodeImage,
    NormalizeImage,
    RandCropImage,
    RandFlipImage,
    ToCHWImage,
)
from ppzoo.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def clothes():
    return FashionMNIST(mode="test")


def augmented(clothes, seed=0):
    return Samples(clothes, Compose([RandCropImage(size=24), RandFlipImage(), NormalizeImage(order="")]), seed)


def test_a_sample_is_normalized_and_channels_first(clothes):
    sample = augmented(clothes)[0, 5]
    assert (sample.image.shape, sample.image.dtype) == ((3, 24, 24), np.float32)
    assert sample.image.flags.c_contiguous
    assert (sample.label, sample.index) == (clothes.labels[5], 5)
    assert sample.label.dtype == sample.index.dtype == np.int64


def test_the_result_is_transposed_once_only(clothes):
    plain = Samples(clothes, Compose([NormalizeImage(order="")]), 0)[0, 1]
    explicit = Samples(clothes, Compose([NormalizeImage(order=""), ToCHWImage()]), 0)[0, 1]
    np.testing.assert_array_equal(plain.image, explicit.image)
    raw = Samples(clothes, Compose([]), 0)[0, 1]
    assert raw.image.dtype == np.float32
    np.testing.assert_array_equal(raw.image, clothes[1][0].transpose(2, 0, 1))


def test_a_sample_depends_only_on_seed_epoch_and_index(clothes):
    samples = augmented(clothes)
    first = samples[3, 7].image
    for other in (samples[0, 0], samples[3, 8], samples[4, 7]):
        assert not np.array_equal(other.image, first)
    np.testing.assert_array_equal(samples[3, 7].image, first)
    np.testing.assert_array_equal(augmented(clothes)[3, 7].image, first)
    assert not np.array_equal(augmented(clothes, seed=1)[3, 7].image, first)


@pytest.mark.parametrize("transforms", [[], [NormalizeImage(order="")], [CropImage(size=8), DecodeImage()]])
def test_image_files_need_a_decoder_as_the_first_transform(tmp_path, transforms):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "cat" / "1.png")
    with pytest.raises(ConfigError, match=r"^expected DecodeImage as the first transform, since the images are files"):
        Samples(ImageFolder(image_root=str(tmp_path)), Compose(transforms), 0)[0, 0]


def test_an_error_names_the_file(tmp_path):
    folder = tmp_path / "cat"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (20, 10)).save(folder / "small.png")
    samples = Samples(ImageFolder(image_root=str(tmp_path)), Compose([DecodeImage(), CropImage(size=16)]), 0)
    with pytest.raises(DataError, match=r"broken\.jpg: expected an image"):
        samples[0, 0]
    with pytest.raises(DataError, match=r"small\.png: CropImage: expected an image of at least 16 x 16"):
        samples[0, 1]


def test_data_does_not_need_paddle():
    code = "import sys, ppzoo.data; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
