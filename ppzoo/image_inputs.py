"""The images that `Predictor` accepts, and error messages for other objects, which do not print their content."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from ppzoo.errors import DataError

Image = str | os.PathLike[str] | bytes | np.ndarray

MAX_SHOWN_LENGTH = 255  # of a missing path in an error message
START_OF_BASE64 = re.compile(r"(data:|/9j/|iVBOR|R0lGOD|UklGR|Qk[0-9A-Za-z]|SUkq|TU0A)[^.]{60}")  # of an image file
BASE64 = re.compile(r"[A-Za-z0-9+/=_\s-]{256,}")


def to_path(image: str | os.PathLike[str]) -> str:
    """Return the path of an image as a string.

    Raises:
        DataError: the text cannot be a path.
    """
    path = os.fsdecode(image)
    if not path or "\0" in path or not _is_encodable(path):
        raise DataError("not a path")
    return path


def describe_invalid_image(image: Any, error: DataError, channels: int) -> str:
    """Return a one-line error message for one image with the expected and the received object.

    Args:
        error: the exception that reading the image raised.
        channels: the number of channels of arrays that the export takes.
    """
    if isinstance(image, (str, os.PathLike)):
        return _describe_text(os.fsdecode(image), error)
    if isinstance(image, bytes):
        hint = "; it looks like base64: pass base64.b64decode(data)" if _is_base64(image.decode("latin-1")) else ""
        return f"{error} (got {len(image)} bytes{hint})"
    expected = f"expected a path, the bytes of an image file or an H x W x {channels} uint8 array"
    if not isinstance(image, np.ndarray):
        return f"{expected}, got {_describe_object(image)}"
    fits = image.ndim == 3 and image.shape[2] in (
        (1, 3) if channels == 1 else (channels,)
    )  # color is converted to gray
    if fits and image.size and image.dtype == np.uint8:
        return str(error)
    received = f"an array of shape {image.shape} and type {image.dtype}"
    return f"{expected}, got {received}{_array_hint(image, channels)}"


def _describe_text(text: str, error: DataError) -> str:
    if os.path.exists(text):
        return str(error)
    expected = "expected the path of an image, got"
    if text.startswith(("http://", "https://")):
        return f"{expected} a URL: download it, and pass its bytes"
    if _is_base64(text):
        return f"{expected} {len(text)} characters that look like base64: pass base64.b64decode(text)"
    if not text:
        return f"{expected} an empty string"
    if len(text) > MAX_SHOWN_LENGTH:
        return f"{expected} a string of {len(text)} characters that is not a path"
    if "\0" in text or not _is_encodable(text):
        return f"{expected} {text!r}, which contains a character that is invalid in paths"
    return str(error)


def _is_base64(text: str) -> bool:
    """Return whether the text looks like an image file in base64, with or without a prefix `data:...,`."""
    return bool(START_OF_BASE64.match(text) or BASE64.fullmatch(text))


def _describe_object(image: Any) -> str:
    """Return the kind of an object that is neither string, bytes nor array, and how to convert it."""
    name = type(image).__name__
    if hasattr(image, "convert") and hasattr(image, "mode"):
        return "a Pillow image: pass np.asarray(image.convert('RGB'))"
    if hasattr(image, "read"):
        return f"{name}, a file object: pass the result of read()"
    if isinstance(image, (bytearray, memoryview)):
        return f"{name}: pass bytes(image)"
    if hasattr(image, "numpy"):
        return f"{name}: pass image.numpy()"
    if hasattr(image, "__iter__"):
        return f"{name}: pass a list of images"
    return name


def _array_hint(image: np.ndarray, channels: int) -> str:
    if image.dtype.kind in "US":
        return ": pass images.tolist()"
    if image.ndim == 4 or image.dtype == object:
        return ": pass list(images)"
    if image.dtype != np.uint8:
        return ": pass pixels from 0 to 255 as uint8"
    if not image.size or image.ndim not in (2, 3):
        return ""
    if image.ndim == 3 and image.shape[0] == channels:
        return ": pass image.transpose(1, 2, 0)"
    if channels == 3 and (image.ndim == 2 or image.shape[2] == 1):
        return ", which is grayscale: pass np.dstack([image] * 3)"
    if channels == 3 and image.shape[2] == 4:
        return ", which has an alpha channel: pass image[:, :, :3]"
    return ""


def _is_encodable(text: str) -> bool:
    """Return whether the system can encode the text as a path; surrogates of undecodable bytes are allowed."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
