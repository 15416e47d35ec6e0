"""Zip archives of weights: NumPy's `.npz`, and the members that `ppzoo.weights.pytorch` reads.

Protection from zip bombs: no more of a member is read than its header states, and the total size of all members is
limited relative to the size of the archive.
"""

from __future__ import annotations

import ast
import math
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from ppzoo.errors import WeightsError
from ppzoo.safe_pickle.allowlist import PLAIN_DTYPE, is_shape
from ppzoo.weights.weight_file import WeightFile, check_finite

CHUNK = 1 << 20
NPY = b"\x93NUMPY"
INTEGER_OF_PYTHON_2 = re.compile(r"(\d)L\b")
MAX_HEADER = 10_000
EMPTY_END = b"PK\x05\x06" + bytes(18)  # the "end of central directory" record without a comment
MAX_RATIO = 8  # maximum of unpacked to packed size
SLACK = 64 << 20  # additional unpacked bytes, for small archives

MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    OverflowError,
)


def open_archive(file: Path) -> zipfile.ZipFile:
    """Open the archive; the caller closes it.

    Raises:
        WeightsError: the archive is damaged, has members that are neither stored nor deflated or two members with the
            same name, has bytes before or after its members, or unpacks to far more than its size.
    """
    try:
        archive = zipfile.ZipFile(file)
    except MALFORMED:
        raise WeightsError(f"{file} is a damaged or truncated archive; restore or download it") from None
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in archive.infolist()):
        archive.close()
        raise WeightsError(f"{file} is refused: expected members that are stored or deflated")
    names = archive.namelist()
    if len(set(names)) != len(names) or _has_surplus(archive, file):
        archive.close()
        raise WeightsError(
            f"{file} is refused: it has two members with the same name, or bytes before or after its members"
        )
    size = sum(member.file_size for member in archive.infolist())
    limit = MAX_RATIO * file.stat().st_size + SLACK
    if size > limit:
        archive.close()
        raise WeightsError(f"{file} is refused: expected an archive that unpacks to at most {limit} bytes, got {size}")
    return archive


def _has_surplus(archive: zipfile.ZipFile, file: Path) -> bool:
    """Whether the archive has bytes before its first member or after its central directory."""
    with file.open("rb") as stream:
        stream.seek(-len(EMPTY_END), os.SEEK_END)
        end = stream.read()
    first = min((member.header_offset for member in archive.infolist()), default=0)
    return first != 0 or not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0")


def read_member(stream: IO[bytes], nbytes: int) -> np.ndarray:
    """Return the next `nbytes` bytes of a member as uint8.

    Raises:
        EOFError: the member has fewer.
    """
    values = np.empty(nbytes, np.uint8)
    for start in range(0, nbytes, CHUNK):
        length = min(CHUNK, nbytes - start)
        block = stream.read(length)
        if len(block) < length:
            raise EOFError
        values[start : start + length] = np.frombuffer(block, np.uint8)
    return values


def read_npz(file: Path) -> WeightFile:
    """Read the arrays of a `.npz` by name; unlike in `.pdparams`, uint16 is not interpreted as bfloat16.

    Raises:
        WeightsError: the file is damaged, or contains anything but arrays of finite numbers.
    """
    arrays = {}
    with open_archive(file) as archive:
        for member in archive.infolist():
            try:
                with archive.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _read_npy(stream, member.file_size)
            except MALFORMED:
                problem = "is damaged or not an array of numbers"
                raise WeightsError(f"{file}: entry {member.filename[:100]!r} {problem}") from None
    check_finite(arrays, file)
    return WeightFile(arrays)


def _read_header(stream: IO[bytes]) -> dict[str, Any]:
    """Read the header of a `.npy` without NumPy, which warns or fails in many ways if the header is invalid."""
    start = stream.read(8)
    form = {b"\x01\0": "<H", b"\x02\0": "<I"}[start[6:]]
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    if not start.startswith(NPY) or length > MAX_HEADER:
        raise ValueError
    text = stream.read(length).decode("latin-1")
    try:
        return ast.literal_eval(INTEGER_OF_PYTHON_2.sub(r"\1", text).strip())
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError from error


def _read_npy(stream: IO[bytes], size: int) -> np.ndarray:
    header = _read_header(stream)
    shape, fortran, code = header["shape"], header["fortran_order"], header["descr"]
    if not (isinstance(code, str) and PLAIN_DTYPE.fullmatch(code) and is_shape(shape)):
        raise ValueError
    dtype = np.dtype(code)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > size:
        raise ValueError
    values = read_member(stream, nbytes)
    if stream.read(1):
        raise ValueError("bytes after the array")
    flat = values.view(dtype).astype(dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(flat.reshape(shape[::-1]).T) if fortran else flat.reshape(shape)
