"""The headers of a tar file, read by bounds: Python's `tarfile` searches a hostile one for minutes.

The formats are POSIX's ustar and pax and GNU's, as in the manual of GNU tar, "Basic Tar Format". Of pax records
only a path and a size are heeded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 512
ASCII = bytes(range(128))
MAX_EXTENSION = 1 << 14  # bytes of a long name or of pax records
FILE, FOLDER, OTHER = "file", "folder", "other"
KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"5": FOLDER}
LONG_NAME, LONG_LINK, PAX, PAX_OF_ALL = b"L", b"K", b"x", b"g"


class Header(NamedTuple):
    """A member: its name, what it is, and where its bytes are.

    Attributes:
        kind: FILE, FOLDER, or OTHER: a link, a device, a sparse file, or what nobody knows.
    """

    name: str
    kind: str
    offset: int
    size: int


def read_headers(file: BinaryIO) -> Iterator[Header]:
    """The members of an open tar file; its end, or a block of zeros, ends them. `file` may be moved meanwhile.

    Raises:
        ValueError: it is none, or broken.
    """
    position = 0
    known: dict[str, str] = {}  # what extensions say of the next member
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if not block.strip(b"\0"):
            if not position and len(block) < BLOCK:
                raise ValueError("it is no tar file")
            return
        kind, size = _check(block), int(_number(block[124:136]))
        offset = position + BLOCK
        if kind in (LONG_NAME, LONG_LINK, PAX, PAX_OF_ALL):
            if size > MAX_EXTENSION:
                raise ValueError("it has an extension that is too long")
            content = file.read(size)
            if len(content) < size:
                raise ValueError("it ends within a header")
            if kind == LONG_NAME:
                known["path"] = _text(content)
            elif kind == PAX:
                known.update(_records(content))
        else:
            size = int(known.get("size", size))
            name = known.get("path", _name(block))
            plain = OTHER if any(key.startswith("GNU.sparse") for key in known) else KINDS.get(kind, OTHER)
            if plain == FILE and name.endswith("/"):  # before POSIX, this told folders from files
                plain = FOLDER
            known = {}
            yield Header(name, plain, offset, size)
        position = offset + (size + BLOCK - 1) // BLOCK * BLOCK


def _check(block: bytes) -> bytes:
    """The type flag of a header whose checksum is right."""
    if len(block) < BLOCK:
        raise ValueError("it ends within a header")
    blank = block[:148] + b" " * 8 + block[156:]
    signed = sum(blank) - 256 * len(blank.translate(None, ASCII))  # as some have summed
    if _number(block[148:156]) not in (sum(blank), signed):
        raise ValueError("a header's checksum is wrong")
    return block[156:157]


def _number(field: bytes) -> int:
    """Octal digits, or a big-endian number after a set bit, where GNU tar needs more than 8 GiB."""
    if field[0] == 0o200:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip() or b"0"
    if not digits.isdigit():
        raise ValueError("a header has a number that is none")
    return int(digits, 8)


def _name(block: bytes) -> str:
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{_text(block[:100])}" if prefix else _text(block[:100])


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _records(content: bytes) -> dict[str, str]:
    """The records of a pax header: 'LENGTH KEY=VALUE' lines, of which LENGTH counts all bytes."""
    records = {}
    while content.strip(b"\0"):
        digits = content[:8].partition(b" ")[0]
        length = int(digits)
        record = content[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not (len(digits) + 1 < length <= len(content) and equals and record.endswith(b"\n")):
            raise ValueError("it has a pax record that is none")
        records[_text(key)] = value[:-1].decode(errors="surrogateescape")
        content = content[length:]
    if "size" in records and not (records["size"].isdecimal() and len(records["size"]) < 20):
        raise ValueError("it has a pax record with a size that is none")
    return records
