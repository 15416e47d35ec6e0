"""Reading the size of a JPEG from its first segments, several times as fast as Pillow reads a complete header.

ITU-T T.81, annex B: a file is a series of segments, each with a marker and (except for a few) its length; the frame
header, one of the SOF segments, has the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

JPEG_START = b"\xff\xd8\xff"
FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, with Huffman codes
SKIPPED = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, restart interval, comments, application data
EXIF = (0xE1, b"Exif\0\0")
ORIENTATION_TAG = re.compile(rb"\x01\x12\x00.|\x12\x01.\x00", re.DOTALL)  # tag and type, in both byte orders
NOT_TURNED = (b"\0\0\0\1\0\1", b"\1\0\0\0\1\0")  # a count of one value, and the value 1
FILL, PRECISION = 0xFF, 8
FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf](?=(..).(..)(..)(.))", re.DOTALL)


class JpegHeader(NamedTuple):
    """Size of the image as stored, and whether there is an EXIF segment, which can give an orientation.

    frame: offset of the frame header, after which there is no EXIF segment.
    """

    width: int
    height: int
    has_exif: bool
    frame: int


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Return the header of an ordinary JPEG; None for anything else.

    A file is ordinary if every decoder reads it in the same way: it has segments of known kinds without bytes between
    them, then the frame header.
    """
    if not data.startswith(JPEG_START):
        return None
    offset, has_exif, last = 2, False, len(data) - 10
    while offset <= last and data[offset] == FILL:
        marker = data[offset + 1]
        if marker == FILL:  # padding
            offset += 1
            continue
        length = _read_uint16(data, offset + 2)
        if marker in FRAMES:
            height, width = _read_uint16(data, offset + 5), _read_uint16(data, offset + 7)
            components = data[offset + 9]
            is_sound = length == 8 + 3 * components and data[offset + 4] == PRECISION and width and height
            return JpegHeader(width, height, has_exif, offset) if is_sound else None
        if marker not in SKIPPED or length < 2:
            return None
        has_exif |= marker == EXIF[0] and data.startswith(EXIF[1], offset + 4)
        offset += 2 + length
    return None


def is_turned(data: bytes, header: JpegHeader) -> bool:
    """Return whether a JPEG can have an EXIF orientation: bytes that can be this tag with another value than 1."""
    if not header.has_exif:
        return False
    segments = data[: header.frame]
    return any(data[tag.end() : tag.end() + 6] not in NOT_TURNED for tag in ORIENTATION_TAG.finditer(segments))


def possible_frame_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield width and height of everything in a file that a JPEG decoder could take for the frame header.

    Decoders differ in how they read a JPEG that is not an ordinary one.
    """
    for frame in FRAME.finditer(data):
        length, height, width, (components,) = frame.groups()
        if _read_uint16(length, 0) == 8 + 3 * components:
            yield _read_uint16(width, 0), _read_uint16(height, 0)


def _read_uint16(data: bytes, offset: int) -> int:
    return data[offset] << 8 | data[offset + 1]
