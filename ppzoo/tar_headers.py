"""Reading the headers of untrusted tar files in bounded time; hostile files keep Python's `tarfile` busy for minutes.

The formats are POSIX ustar and pax, and GNU tar ("Basic Tar Format" in its manual). Of pax records only the path,
the size, and the keys that mark a sparse file are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 512
ASCII = bytes(range(128))
MAX_EXTENSION = 1 << 14  # bytes of a long name or of pax records
FILE, FOLDER, OTHER = "file", "folder", "other"
KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"5": FOLDER}
LONG_NAME, LONG_LINK, PAX, GLOBAL_PAX = b"L", b"K", b"x", b"g"


class Header(NamedTuple):
    """Name and kind of a member, and offset and size of its content.

    Attributes:
        kind: FILE, FOLDER, or OTHER: a link, a device, a sparse file, or an unknown kind.
    """

    name: str
    kind: str
    offset: int
    size: int


def read_headers(file: BinaryIO) -> Iterator[Header]:
    """Yield the members of an open tar file, up to its end or a block of zeros. The caller can seek in `file`.

    Raises:
        ValueError: the file is not a tar file, or broken.
    """
    position = 0
    extended: dict[str, str] = {}  # properties of the next member from extension headers
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if not block.strip(b"\0"):
            if not position and len(block) < BLOCK:
                raise ValueError("not a tar file")
            return
        type_flag, size = _check(block), int(_number(block[124:136]))
        offset = position + BLOCK
        if type_flag in (LONG_NAME, LONG_LINK, PAX, GLOBAL_PAX):
            if size > MAX_EXTENSION:
                raise ValueError("extension header too long")
            content = file.read(size)
            if len(content) < size:
                raise ValueError("truncated header")
            if type_flag == LONG_NAME:
                extended["path"] = _text(content)
            elif type_flag == PAX:
                extended.update(_pax_records(content))
        else:
            size = int(extended.get("size", size))
            name = extended.get("path", _name(block))
            is_sparse = any(key.startswith("GNU.sparse") for key in extended)
            kind = OTHER if is_sparse else KINDS.get(type_flag, OTHER)
            if kind == FILE and name.endswith("/"):  # how folders were marked before POSIX
                kind = FOLDER
            extended = {}
            yield Header(name, kind, offset, size)
        position = offset + (size + BLOCK - 1) // BLOCK * BLOCK


def _check(block: bytes) -> bytes:
    """Verify the checksum of a header and return its type flag."""
    if len(block) < BLOCK:
        raise ValueError("truncated header")
    summed = block[:148] + b" " * 8 + block[156:]
    signed = sum(summed) - 256 * len(summed.translate(None, ASCII))  # some programs sum signed bytes
    if _number(block[148:156]) not in (sum(summed), signed):
        raise ValueError("wrong checksum in a header")
    return block[156:157]


def _number(field: bytes) -> int:
    """Parse octal digits, or the big-endian number that GNU tar writes for 8 GiB or more."""
    if field[0] == 0o200:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip() or b"0"
    if not digits.isdigit():
        raise ValueError("invalid number in a header")
    return int(digits, 8)


def _name(block: bytes) -> str:
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{_text(block[:100])}" if prefix else _text(block[:100])


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _pax_records(content: bytes) -> dict[str, str]:
    """Parse the records of a pax header: 'LENGTH KEY=VALUE' lines, where LENGTH counts all bytes of the line."""
    records = {}
    while content.strip(b"\0"):
        digits = content[:8].partition(b" ")[0]
        length = int(digits)
        record = content[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not (len(digits) + 1 < length <= len(content) and equals and record.endswith(b"\n")):
            raise ValueError("invalid pax record")
        records[_text(key)] = value[:-1].decode(errors="surrogateescape")
        content = content[length:]
    if "size" in records and not (records["size"].isdecimal() and len(records["size"]) < 20):
        raise ValueError("invalid size in a pax record")
    return records
