"""Zip archives of weights: NumPy's `.npz`, and the members that `ppzoo.weights.pytorch` asks for.

A member is read only as far as it states, and all of them together may not be much larger than the archive, so that
a zip bomb stays packed.
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
EMPTY_END = b"PK\x05\x06" + bytes(18)  # the end of an archive's directory, without a comment
MAX_RATIO = 8  # of what is unpacked to what is packed
SLACK = 64 << 20  # bytes that small archives may hold beyond that

DAMAGE = (
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
    """The archive, closed by the caller.

    Raises:
        WeightsError: it is damaged, has two members of one name or bytes around its members, or unpacks to far more
            than it is.
    """
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGE:
        raise WeightsError(f"{file} is a damaged or truncated archive, get it again") from None
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in archive.infolist()):
        archive.close()
        raise WeightsError(f"{file} is refused: it is packed in another way than NumPy's and PyTorch's archives")
    names = archive.namelist()
    if len(set(names)) != len(names) or _has_surplus(archive, file):
        archive.close()
        raise WeightsError(f"{file} is refused: it has two members of one name, or bytes before or behind its members")
    size = sum(member.file_size for member in archive.infolist())
    if size > MAX_RATIO * file.stat().st_size + SLACK:
        archive.close()
        raise WeightsError(f"{file} is refused: it is {file.stat().st_size} bytes and claims to unpack to {size}")
    return archive


def _has_surplus(archive: zipfile.ZipFile, file: Path) -> bool:
    """Whether something comes before the first member, or behind the directory of them, which ends every archive."""
    with file.open("rb") as stream:
        stream.seek(-len(EMPTY_END), os.SEEK_END)
        end = stream.read()
    first = min((member.header_offset for member in archive.infolist()), default=0)
    return first != 0 or not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0")


def read_member(stream: IO[bytes], nbytes: int) -> np.ndarray:
    """The next `nbytes` bytes of a member as uint8.

    Raises:
        EOFError: it has fewer.
    """
    values = np.empty(nbytes, np.uint8)
    for start in range(0, nbytes, CHUNK):
        wanted = min(CHUNK, nbytes - start)
        block = stream.read(wanted)
        if len(block) < wanted:
            raise EOFError
        values[start : start + wanted] = np.frombuffer(block, np.uint8)
    return values


def read_npz(file: Path) -> WeightFile:
    """The arrays of a `.npz` by their names; only plain numbers are read, and uint16 stays what it is.

    Raises:
        WeightsError: the file is damaged, holds anything but arrays of numbers, or values that are not finite.
    """
    arrays = {}
    with open_archive(file) as archive:
        for member in archive.infolist():
            try:
                with archive.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _read_npy(stream, member.file_size)
            except DAMAGE:
                problem = "is damaged or holds no plain numbers"
                raise WeightsError(f"{file}: entry {member.filename[:100]!r} {problem}") from None
    check_finite(arrays, file)
    return WeightFile(arrays)


def _read_header(stream: IO[bytes]) -> dict[str, Any]:
    """The header of a `.npy`, read without NumPy, which warns of hostile ones or fails in many ways."""
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
        raise ValueError("bytes behind the array")
    flat = values.view(dtype).astype(dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(flat.reshape(shape[::-1]).T) if fortran else flat.reshape(shape)
