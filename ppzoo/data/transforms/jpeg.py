"""The size of a JPEG, read from its first segments: Pillow's full look at a header takes seven times as long.

ITU-T T.81, annex B: a file is a series of segments, each with a marker and (except for a few) its length; the frame
header, one of the SOF segments, has the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

START = b"\xff\xd8\xff"
FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, with Huffman codes
SKIPPED = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, restart interval, comments, application data
EXIF = (0xE1, b"Exif\0\0")
FILL, PRECISION = 0xFF, 8
FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf](?=(..).(..)(..)(.))", re.DOTALL)


class JpegHeader(NamedTuple):
    """Size of the image as it is stored, and whether there is an EXIF segment, which may ask to turn it."""

    width: int
    height: int
    has_exif: bool


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of an ordinary JPEG; None where the bytes are anything else.

    Only files that every decoder reads in the same way are ordinary: segments of known kinds without bytes between
    them, then the frame header.
    """
    if not data.startswith(START):
        return None
    place, has_exif, last = 2, False, len(data) - 10
    while place <= last and data[place] == FILL:
        marker = data[place + 1]
        if marker == FILL:  # padding
            place += 1
            continue
        length = _number(data, place + 2)
        if marker in FRAMES:
            height, width, components = _number(data, place + 5), _number(data, place + 7), data[place + 9]
            is_sound = length == 8 + 3 * components and data[place + 4] == PRECISION and width and height
            return JpegHeader(width, height, has_exif) if is_sound else None
        if marker not in SKIPPED or length < 2:
            return None
        has_exif |= marker == EXIF[0] and data.startswith(EXIF[1], place + 4)
        place += 2 + length
    return None


def possible_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of everything in a file that a decoder of JPEGs could take for the frame header.

    What is not an ordinary JPEG is read by each decoder in its own way.
    """
    for frame in FRAME.finditer(data):
        length, height, width, (components,) = frame.groups()
        if _number(length, 0) == 8 + 3 * components:
            yield _number(width, 0), _number(height, 0)


def _number(data: bytes, place: int) -> int:
    return data[place] << 8 | data[place + 1]
