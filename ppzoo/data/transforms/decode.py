"""Decoding image files of any format to 8-bit pixels with 3 channels (or 1 or 4).

OpenCV decodes, as in PaddleClas; Pillow reads what OpenCV cannot. Files are untrusted: the header is checked before
any pixel is decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from ppzoo.data.compiled import partial_jpeg
from ppzoo.data.transforms.crop import RandCropImage, ResizedCrop, ResizedWindow
from ppzoo.data.transforms.geometry import ResizeImage, Window
from ppzoo.data.transforms.jpeg_header import (
    JPEG_START,
    JpegHeader,
    is_turned,
    possible_frame_sizes,
    read_jpeg_header,
)
from ppzoo.data.transforms.registry import TRANSFORMS
from ppzoo.errors import ConfigError, DataError
from ppzoo.host import MAX_PIXELS

MAX_UINT16 = 65_535
POSTSCRIPT_STARTS = (b"%!PS", b"\xc5\xd0\xd3\xc6")  # of EPS files
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TILE_WIDTH, TILE_HEIGHT = 322, 323  # TIFF tags
BITS_PER_SAMPLE, SAMPLE_FORMAT = 258, 339  # TIFF tags
UNSIGNED = 1  # value of SAMPLE_FORMAT
PNM_STARTS = tuple(b"P%c" % kind for kind in b"123456Ff")
ORIENTATION = 0x0112  # EXIF tag
ROTATED = (5, 6, 7, 8)  # orientations that swap width and height
DIVISORS = (8, 4, 2)

# OpenCV's flags for RGB at 1 / N of the size.
REDUCED_RGB = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}

# What Pillow raises for broken or hostile files.
PILLOW_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)

# Silence OpenCV's own messages: a broken file is reported once, as a DataError. OpenCV 5 has moved the function.
(getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)


class TooManyPixelsError(DataError):
    """An image that is too large.

    Attributes:
        size: its width and height as text; "more" if they are not known.
    """

    def __init__(self, max_pixels: int, size: str) -> None:
        super().__init__(f"expected at most {max_pixels} pixels, got {size}: scale the image down")
        self.max_pixels, self.size = max_pixels, size

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.max_pixels, self.size)


@TRANSFORMS.register
class DecodeImage:
    """Decode the bytes of an image file (JPEG, PNG, WebP, GIF, BMP, TIFF, ...) to H x W x `channels` uint8.

    Gray and palette images are converted to RGB, CMYK too; the alpha channel is dropped, and of an animation the first
    frame is decoded. White is 65535 in 16-bit images (their upper bytes are kept), 1 in floating-point images, and the
    maximum given by the file in PGM and PPM. Signed integers and integers of more than 16 bits have no defined white
    and are an error.

    A decoded image (H x W x 3 or H x W x 1 uint8, RGB or gray) is accepted as if it had just been decoded, so one list
    of transforms works for files and arrays. A gray array keeps its one channel if `channels` is 3.

    Args:
        to_rgb: return the channels in the order red, green, blue; if false, blue, green, red.
        to_np: accepted for PaddleClas's configurations, without effect: images are always arrays.
        channel_first: return C x H x W.
        backend: decoder: "cv2" applies the EXIF orientation, "pil" does not.
        channels: number of channels: 3: RGB; 1: gray; 4: RGB and the alpha channel, which is 255 if the file has none.
        reduced: decode JPEGs at 1/2, 1/4 or 1/8 of their width and height, as long as the next transform, which has to
            be `RandCropImage` or `ResizeImage`, gets at least this many input pixels per output pixel in both
            directions; above 0 and at most 1. 1: never upsample what would have been downsampled; 0.5: faster, and
            less sharp. The pixels differ from those of full decoding. None: decode at full size.

    Raises:
        ConfigError: an unknown backend or number of channels, or `reduced` with options that do not allow it.
        DataError: not an image, a broken one, one of more than `MAX_PIXELS` pixels, or one of signed integers, of
            integers of more than 16 bits, or of floating-point numbers outside [0, 1].
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
            raise ConfigError(
                "DecodeImage.reduced: expected backend 'cv2', channels 3 and channel_first False with it, got "
                f"backend {backend!r}, channels {channels} and channel_first {channel_first}"
            )
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
        """Decode a JPEG, whose header has been checked, at 1 / `divisor` of its size if the decoder supports it."""
        return self._arrange(_decode_cv2(data, divisor))

    def decode_window(
        self, data: bytes, header: JpegHeader, size: tuple[int, int], window: Window | ResizedWindow, divisor: int = 1
    ) -> np.ndarray | None:
        """Return what `window.of` returns for the decoded JPEG, decoding only the parts that it needs.

        Args:
            size: width and height of the image when decoded at 1 / `divisor` of its size.

        Returns:
            None if the JPEG has to be decoded completely.
        """
        if (self.backend, self.channels, self.channel_first) != ("cv2", 3, False) or is_turned(data, header):
            return None
        if not partial_jpeg.is_available():
            return None
        resizing = window.resizing
        if resizing is not None:
            resized = partial_jpeg.decode_resized(data, size, resizing, divisor)
            if resized is not None:
                return self._arrange(resized)
        pixels = partial_jpeg.decode_part(data, size, window.bounds, divisor)
        return None if pixels is None else window.of(self._arrange(pixels))

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
            f"expected encoded bytes or an H x W x 3 uint8 array, got shape {image.shape} and data type "
            f"{image.dtype}: pass RGB pixels from 0 to 255"
        )
    return image


def check_header(data: bytes, max_pixels: int = MAX_PIXELS) -> JpegHeader | None:
    """Check that `data` is an image of at most `max_pixels` pixels; return its header if it is an ordinary JPEG.

    Raises:
        DataError: it is not an image, or too large.
    """
    if not data:
        raise DataError("expected an image, got an empty file: replace or remove it")
    header = read_jpeg_header(data)
    sizes = [header[:2]] if header else _sizes(data)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if width * height > max_pixels:
        raise TooManyPixelsError(max_pixels, f"{width} x {height}")
    return header


@contextmanager
def open_image(data: bytes) -> Iterator[Image.Image]:
    """Open an image with Pillow, which reads its header.

    Raises:
        DataError: opening or using the image shows that it is broken, or not an image.
    """
    try:
        if data.startswith(POSTSCRIPT_STARTS):
            raise ValueError("Pillow would run Ghostscript")
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except Image.DecompressionBombError:
        raise TooManyPixelsError(MAX_PIXELS, "more") from None
    except PILLOW_ERRORS as error:
        kind = "a file that is not an image or is damaged"
        if data.startswith(TIFF_STARTS):
            kind = "a TIFF that is damaged or whose pixels do not have 8 or 16 bits"
        raise DataError(f"expected an image, got {kind}: replace or remove it") from error


def _sizes(data: bytes) -> list[tuple[int, int]]:
    """Return width and height of an image, and of everything else in it for which a decoder could allocate memory."""
    with open_image(data) as image:
        width, height = image.size
        if not (width and height):
            raise ValueError("an image without pixels")
        tags = getattr(image, "tag_v2", {})  # TIFF tags
        tile = int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_HEIGHT, 0))
    return [(width, height), tile, *(possible_frame_sizes(data) if data.startswith(JPEG_START) else [])]


def _defines_white(data: bytes) -> bool:
    """Whether white can differ from 255 or 65535, which OpenCV assumes: in PNM and some TIFF files."""
    if not data.startswith(TIFF_STARTS):
        return data.startswith(PNM_STARTS)
    with open_image(data) as image:
        return image.mode == "F" or image.mode.startswith("I")


def _decode_cv2(data: bytes, divisor: int = 1) -> np.ndarray:
    if _defines_white(data):
        return _decode_pil(data, upright=True)
    pixels = None
    if not _is_truncated_png(data):
        with suppress(cv2.error):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED_RGB[divisor])
    return _decode_pil(data, upright=True) if pixels is None else pixels


def _is_truncated_png(data: bytes) -> bool:
    """Whether a PNG ends within a chunk: OpenCV would allocate whatever length the chunk's header gives."""
    if not data.startswith(PNG_START):
        return False
    offset, end = len(PNG_START), len(data)
    while offset + 8 <= end and data[offset + 4 : offset + 8] != b"IEND":
        offset += 12 + int.from_bytes(data[offset : offset + 4], "big")
    return offset > end


def _decode_pil(data: bytes, mode: str = "RGB", upright: bool = False) -> np.ndarray:
    with open_image(data) as image:
        image.verify()  # the checksums of a PNG, which decoding does not verify
    with open_image(data) as image:
        if upright:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F" or image.mode.startswith("I"):  # which convert() would clip
            return np.repeat(_to_8_bits(image)[:, :, np.newaxis], 3, axis=2)
        return np.array(image.convert(mode))


def _to_8_bits(image: Image.Image) -> np.ndarray:
    """Convert a one-channel image of more than 8 bits to H x W uint8.

    Raises:
        DataError: its value of white is not defined.
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
    bits, sample_format = max(tags.get(BITS_PER_SAMPLE, (16,))), tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0]
    if bits > 16 or sample_format != UNSIGNED or not (values.min() >= 0 and values.max() <= MAX_UINT16):
        kind = "" if sample_format == UNSIGNED else "signed "
        raise DataError(
            f"expected pixels of 8 or 16 bits, got {kind}integers of {max(bits, 16)} bits, which do not define the"
            " value of white: save the image with 8 or 16 bits"
        )
    return (values >> 8).astype(np.uint8)


class ReducedDecode:
    """`DecodeImage` and the transform after it: draws the crop, then decodes the JPEG as small as `reduced` allows.

    A JPEG stores blocks of 8 x 8 pixels as sums of cosines. Decoding without the higher frequencies returns blocks of
    4 x 4, 2 x 2 or 1 x 1 pixels with less work. The crop is the one that would be drawn without `reduced`.

    Raises:
        ConfigError: the next transform is neither `RandCropImage` nor `ResizeImage`.
    """

    def __init__(self, decode: DecodeImage, resize: object) -> None:
        if not isinstance(resize, RandCropImage | ResizeImage):
            raise ConfigError(
                "DecodeImage.reduced: expected RandCropImage or ResizeImage as the next transform, got "
                f"{type(resize).__name__ if resize else 'none'}: put one there or remove reduced"
            )
        assert decode.reduced is not None
        self.decode, self.resize, self.min_ratio = decode, resize, decode.reduced

    def __call__(self, image: bytes | np.ndarray, random: np.random.Generator) -> np.ndarray:
        header = check_header(image) if isinstance(image, bytes) else None
        if header is None or not isinstance(image, bytes):
            return self.resize(self.decode(image, random), random)
        width, height = _upright_size(image, header)
        window = self.resize.window(height, width, random)
        divisor = self._divisor(window)
        columns, rows = -(-width // divisor), -(-height // divisor)
        scaled = window.scaled(columns / width, rows / height)
        cropped = self.decode.decode_window(image, header, (columns, rows), scaled, divisor)
        if cropped is not None:
            return cropped
        pixels = self.decode.decode_reduced(image, divisor)
        return window.scaled(pixels.shape[1] / width, pixels.shape[0] / height).of(pixels)

    def _divisor(self, window: Window) -> int:
        ratio = min(window.width / window.size[0], window.height / window.size[1])
        return next((divisor for divisor in DIVISORS if ratio / divisor >= self.min_ratio), 1)


def _upright_size(data: bytes, header: JpegHeader) -> tuple[int, int]:
    """Return width and height after applying the EXIF orientation."""
    if header.has_exif:
        with open_image(data) as image:
            if image.getexif().get(ORIENTATION) in ROTATED:
                return header.height, header.width
    return header.width, header.height


def decode_and_crop(
    data: bytes, decode: DecodeImage, crop: RandCropImage | ResizedCrop, random: np.random.Generator
) -> np.ndarray:
    """Return `crop(decode(data))`, without decoding the parts of a JPEG that are not needed, if possible."""
    header = check_header(data)
    if header is None or is_turned(data, header):
        return crop(decode(data, random), random)
    size = header.width, header.height
    window = crop.window(header.height, header.width, random)
    cropped = decode.decode_window(data, header, size, window)
    return window.of(decode(data, random)) if cropped is None else cropped
