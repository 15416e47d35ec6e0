"""Images of more than 8 bits are scaled by a documented rule, or rejected."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, features

from ppzoo.data import IMAGE_SUFFIXES, ImageFolder, inspect_dataset
from ppzoo.data.transforms.decode import DecodeImage
from ppzoo.errors import DataError

RAMP = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(8, 0)
GRAY = np.rint(RAMP * 255).astype(np.uint8)


def encoded(pixels, kind="TIFF"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def decoded(data, **options):
    return DecodeImage(**options)(data, np.random.default_rng(0))


def pnm(kind, most, pixels):
    header = f"{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n{most}\n".encode()
    return header + pixels.astype(">u2" if most > 255 else "u1").tobytes()


COLORS = RAMP[:, :, None].repeat(3, 2)
SCALED = {
    "16 bits": encoded((RAMP * 65535).astype(np.uint16)),
    "16 bits, color": cv2.imencode(".tiff", (COLORS * 65535).astype(np.uint16))[1].tobytes(),
    "16-bit PNG": encoded((RAMP * 65535).astype(np.uint16), "PNG"),
    "floats": encoded(RAMP),
    "8 bits": encoded(GRAY),
    "PGM of 16 bits": pnm("P5", 65535, RAMP * 65535),
    "PGM of 12 bits": pnm("P5", 4095, RAMP * 4095),
    "PGM up to 100": pnm("P5", 100, np.rint(RAMP * 100)),
    "PPM of 12 bits": pnm("P6", 4095, COLORS * 4095),
    "PFM": b"Pf\n256 8\n-1.0\n" + RAMP.astype("<f4").tobytes(),
}


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("name", SCALED)
def test_white_becomes_255_in_every_pixel_format(name, backend):
    pixels = decoded(SCALED[name], backend=backend)
    assert (pixels.shape, pixels.dtype) == ((8, 256, 3), np.uint8)
    np.testing.assert_allclose(pixels, GRAY[:, :, None].repeat(3, 2).astype(int), atol=2 if "100" in name else 1)
    assert pixels.max() == 255
    assert decoded(SCALED[name], backend=backend, channels=1).max() == 255


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (encoded((RAMP * 255).astype(np.int32)), "signed integers of 32 bits"),
        (encoded((RAMP * 2**30).astype(np.int32)), "signed integers of 32 bits"),
        (cv2.imencode(".tiff", (RAMP * 32767).astype(np.int16))[1].tobytes(), "signed integers of 16 bits"),
        (encoded(RAMP * 255), "floating-point pixels from 0 to 1, got 0 to 255"),
        (encoded(RAMP - 0.5), "floating-point pixels from 0 to 1, got -0.5 to 0.5"),
        (encoded(RAMP * np.nan), "floating-point pixels from 0 to 1, got nan to nan"),
        (cv2.imencode(".tiff", COLORS)[1].tobytes(), "a TIFF that is damaged or whose pixels do not have 8 or 16 bits"),
    ],
)
def test_pixels_without_a_defined_white_are_rejected(data, complaint, backend):
    with pytest.raises(DataError, match=complaint):
        decoded(data, backend=backend)


def test_images_of_a_single_value_are_reported(tmp_path):
    for label, name in enumerate(("black", "noise")):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(label).integers(0, 256, (40, 40, 3), dtype=np.uint8) * np.uint8(label)
        Image.fromarray(pixels).save(tmp_path / name / "1.png")
    Image.fromarray(np.full((40, 40), 200, np.uint16)).save(tmp_path / "noise" / "dark.tif")
    found = inspect_dataset(ImageFolder(image_root=str(tmp_path)))
    places = [str(tmp_path / "black" / "1.png"), str(tmp_path / "noise" / "dark.tif")]
    assert found.unusual["all pixels have the same value"] == places
    assert "all pixels have the same value: 2, e.g." in found.text()


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_listed_extension_can_be_decoded(suffix):
    Image.init()
    kind = Image.registered_extensions().get(suffix)
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    if kind is None or kind not in Image.SAVE or kind not in Image.OPEN:
        pytest.skip("Pillow does not write it")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    file = io.BytesIO()
    image.convert("1" if kind in ("MSP", "XBM") else "P" if kind == "BLP" else "RGB").save(file, kind)
    pixels = decoded(file.getvalue())
    assert (pixels.ndim, pixels.shape[2], pixels.dtype) == (3, 3, np.uint8)


def test_every_decodable_format_is_listed():
    Image.init()
    readable = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    other = {".bufr", ".grib", ".h5", ".hdf", ".emf", ".wmf", ".eps", ".ps", ".mpg", ".mpeg", ".iim"}
    assert readable - set(IMAGE_SUFFIXES) <= other
