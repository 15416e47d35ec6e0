"""From the bytes of an image file to pixels, whatever the file's kind: three channels of eight bits, or 1 or 4.

OpenCV decodes, as in PaddleClas; what it cannot read, Pillow may. Files are untrusted: the header is looked at
before any pixel is decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from ppzoo.data.transforms.jpeg import START, JpegHeader, jpeg_header, possible_sizes
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, DataError
from ppzoo.host import MAX_PIXELS

MAX_UINT16 = 65_535
POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")  # how an EPS begins
PNG_START = b"\x89PNG\r\n\x1a\n"
TILE_WIDTH, TILE_HEIGHT = 322, 323  # tags of a TIFF

# How OpenCV is asked for red, green, blue at 1 / N of the size.
REDUCED_RGB = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNM = tuple(b"P%c" % kind for kind in b"123456Ff")
BITS, SIGN = 258, 339  # TIFF's tags BitsPerSample and SampleFormat
UNSIGNED = 1

# What Pillow's readers raise for broken or hostile files.
BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)

# A broken file is reported once, as a DataError. OpenCV 5 has moved the function.
(getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)


@TRANSFORMS.register
class DecodeImage:
    """Bytes of an image file (JPEG, PNG, WebP, GIF, BMP, TIFF, ...) to H x W x `channels` uint8.

    Gray and palette images get three equal or looked-up channels, CMYK is converted, an alpha channel is dropped, and
    of an animation the first frame is taken. White is 65535 in images of 16 bits (their upper bytes are kept), 1 in
    those of floating-point numbers, and the file's own maximum in PGM and PPM; of integers with a sign or more than 16
    bits it is not known, and these are refused.

    An image that is decoded already (H x W x 3 or x 1 uint8, RGB or gray) passes as if it had just been decoded, so
    that one list of transforms serves files and arrays.

    Args:
        to_rgb: channels in the order red, green, blue; else blue, green, red.
        to_np: accepted for PaddleClas's files, without effect: images are arrays here in either case.
        channel_first: answer 3 x H x W.
        backend: decoder. "cv2" turns the image upright where EXIF says so, "pil" does not.
        channels: 3; 1: gray; 4: with the alpha channel, which is 255 where the file has none.
        reduced: decode JPEGs at 1/2, 1/4 or 1/8 where the `RandCropImage` or `ResizeImage` that must follow then still
            has this many pixels, at least, for each of the result's, in either direction. 1: it never enlarges what it
            would have shrunk; 0.5: faster, and softer. The pixels differ from those of the whole image, resized. None:
            decode all of it.

    Raises:
        ConfigError: another back end or number of channels, or `reduced` where it cannot be.
        DataError: not an image, a broken one, one of more than `MAX_PIXELS` pixels, or one of integers with a sign or
            more than 16 bits, or of floating-point numbers outside 0 to 1.
    """

    def __init__(
        self,
        *,
        to_rgb: bool = True,
        to_np: bool = False,
        channel_first: bool = False,
        backend: str = "cv2",
        channels: Literal[1, 3, 4] = 3,
        reduced: float | None = None,
    ) -> None:
        if backend.lower() not in ("cv2", "pil"):
            raise ConfigError(f"DecodeImage.backend: expected 'cv2' or 'pil', got {backend!r}")
        if channels not in (1, 3, 4):
            raise ConfigError(f"DecodeImage.channels: expected 1, 3 or 4, got {channels!r}")
        if reduced is not None and not 0 < reduced <= 1:
            raise ConfigError(f"DecodeImage.reduced: expected a number above 0 and at most 1, got {reduced!r}")
        if reduced is not None and (backend.lower(), channels, channel_first) != ("cv2", 3, False):
            raise ConfigError("DecodeImage.reduced: expected backend 'cv2', 3 channels and no channel_first beside it")
        self.channels, self.reduced = channels, reduced
        self.to_rgb, self.channel_first, self.backend = to_rgb, channel_first, backend.lower()

    def __call__(self, image: bytes | np.ndarray, random: np.random.Generator) -> np.ndarray:
        if isinstance(image, np.ndarray):
            pixels = _check_pixels(image, self.channels)
        else:
            check_header(image)
            pixels = self._decode(image)
        return self._arrange(pixels)

    def decode_reduced(self, data: bytes, divisor: int) -> np.ndarray:
        """The image of a JPEG whose header has been checked, at 1 / `divisor` of its size where that is possible."""
        return self._arrange(_decode_cv2(data, divisor))

    def _arrange(self, pixels: np.ndarray) -> np.ndarray:
        if self.channels == 1 and pixels.shape[2] == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis]
        elif self.channels == 4 and pixels.shape[2] != 4:
            opaque = np.full(pixels.shape[:2], 255, np.uint8)
            pixels = np.dstack([np.broadcast_to(pixels, (*opaque.shape, 3)), opaque])
        if not self.to_rgb:
            pixels = pixels[:, :, ::-1] if pixels.shape[2] < 4 else pixels[:, :, [2, 1, 0, 3]]
        return pixels.transpose(2, 0, 1) if self.channel_first else pixels

    def _decode(self, data: bytes) -> np.ndarray:
        if self.channels == 4:
            return _decode_pil(data, "RGBA", upright=self.backend == "cv2")
        return _decode_cv2(data) if self.backend == "cv2" else _decode_pil(data)


def _check_pixels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, channels):
        raise DataError(
            f"expected encoded bytes or an H x W x 3 uint8 array, got an array of shape {image.shape} and type "
            f"{image.dtype}: pass RGB pixels from 0 to 255"
        )
    return image


def check_header(data: bytes) -> JpegHeader | None:
    """Refuse what is no image, and what would fill the memory; the header of an ordinary JPEG.

    Raises:
        DataError: it is refused.
    """
    if not data:
        raise DataError("expected an image, got an empty file: replace or remove it")
    header = jpeg_header(data)
    sizes = [header[:2]] if header else _sizes(data)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if width * height > MAX_PIXELS:
        raise DataError(f"expected at most {MAX_PIXELS} pixels, got {width} x {height}: scale the image down")
    return header


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """An image in Pillow, which has read its header.

    Raises:
        DataError: it is no image or a broken one, as the header shows or what is done with the image.
    """
    try:
        if data.startswith(POSTSCRIPT):
            raise ValueError("Pillow would run Ghostscript")
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except Image.DecompressionBombError:
        raise DataError(f"expected at most {MAX_PIXELS} pixels, got more: scale the image down") from None
    except BROKEN as error:
        kind = "a file that is not an image or is damaged"
        if data.startswith(TIFF):
            kind = "a TIFF that is damaged or whose pixels are not of 8 or 16 bits"
        raise DataError(f"expected an image, got {kind}: replace or remove it") from error


def _sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height of an image, and of whatever else in the file a decoder may make room for."""
    with opened(data) as image:
        width, height = image.size
        if not (width and height):
            raise ValueError("an image without pixels")
        tags = getattr(image, "tag_v2", {})  # of a TIFF
        tile = int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_HEIGHT, 0))
    return [(width, height), tile, *(possible_sizes(data) if data.startswith(START) else [])]


def _has_range(data: bytes) -> bool:
    """Whether the file says which value is white, or should: OpenCV takes 255 for it, or 65535, in any case."""
    if not data.startswith(TIFF):
        return data.startswith(PNM)
    with opened(data) as image:
        return image.mode == "F" or image.mode.startswith("I")


def _decode_cv2(data: bytes, divisor: int = 1) -> np.ndarray:
    if _has_range(data):
        return _decode_pil(data, upright=True)
    pixels = None
    if not _is_truncated_png(data):
        with suppress(cv2.error):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED_RGB[divisor])
    return _decode_pil(data, upright=True) if pixels is None else pixels


def _is_truncated_png(data: bytes) -> bool:
    """Whether a PNG ends within one of its chunks, for which OpenCV allocates what the chunk's length says."""
    if not data.startswith(PNG_START):
        return False
    place, end = len(PNG_START), len(data)
    while place + 8 <= end and data[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return place > end


def _decode_pil(data: bytes, mode: str = "RGB", upright: bool = False) -> np.ndarray:
    with opened(data) as image:
        image.verify()  # a PNG's checksums, which are not looked at when its pixels are decoded
    with opened(data) as image:
        if upright:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F" or image.mode.startswith("I"):  # which convert() would clip
            return np.repeat(_scaled(image)[:, :, np.newaxis], 3, axis=2)
        return np.array(image.convert(mode))


def _scaled(image: Image.Image) -> np.ndarray:
    """The pixels of an image of one channel of more than 8 bits, as bytes.

    Raises:
        DataError: it is not known which of its values is white.
    """
    values = np.asarray(image)
    if image.mode == "F":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"expected floating-point pixels from 0 to 1, got {low:g} to {high:g}: scale them, or save the"
                " image with 8 or 16 bits"
            )
        return np.rint(values * 255).astype(np.uint8)
    tags = getattr(image, "tag_v2", None) or {}
    bits, sign = max(tags.get(BITS, (16,))), tags.get(SIGN, (UNSIGNED,))[0]
    if bits > 16 or sign != UNSIGNED or not (values.min() >= 0 and values.max() <= MAX_UINT16):
        kind = "" if sign == UNSIGNED else " with a sign"
        raise DataError(
            f"expected pixels of 8 or 16 bits, got integers of {max(bits, 16)} bits{kind}, of which it is not"
            " known how many are white: save the image with 8 or 16 bits"
        )
    return (values >> 8).astype(np.uint8)
