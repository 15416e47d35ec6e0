"""Reading the IDX files of the MNIST family: big-endian dimensions, then unsigned bytes; plain or gzipped.

The format is described at the end of LeCun, Cortes, Burges: "The MNIST database of handwritten digits". Files are
untrusted: the number of bytes must be exactly the product of the dimensions.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np

from ppzoo.errors import DataError

UNSIGNED_BYTE = 0x08
CHUNK = 1 << 20
MAX_BYTES = 1 << 30
MAX_COMPRESSION_RATIO = 1032  # of DEFLATE


def read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """Read the IDX file `name` or `name`.gz in `folder`: a uint8 array with `dimensions` dimensions, none of them 0.

    Raises:
        DataError: the file is missing, truncated, too long, or not an IDX file of unsigned bytes.
    """
    plain, compressed = folder / name, folder / f"{name}.gz"
    if not os.path.isfile(plain) and not os.path.isfile(compressed):
        raise DataError(f"expected {plain} or {compressed}, found neither: correct dataset.image_root")
    file = plain if os.path.isfile(plain) else compressed
    try:
        with file.open("rb") as stream:
            return _parse(stream if file is plain else gzip.GzipFile(fileobj=stream), file, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {file} ({error}): download it again") from error


def _parse(stream: io.BufferedIOBase, file: Path, dimensions: int) -> np.ndarray:
    header = stream.read(4 + 4 * dimensions)
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if header[:4] != magic or len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{file}: expected an IDX file that starts with {magic.hex()}, got {header[:4].hex() or 'nothing'}: "
            "download it again"
        )
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    count = math.prod(shape)
    if not 0 < count <= min(MAX_BYTES, MAX_COMPRESSION_RATIO * file.stat().st_size):
        raise DataError(f"{file}: the shape {shape} in its header does not fit the file's size: download it again")
    values = np.empty(count, np.uint8)
    received = 0
    while received < count and (step := stream.readinto(values[received : received + CHUNK].data)):
        received += step
    more = stream.read(1)
    if received < count or more:
        found = "more" if more else str(received)
        raise DataError(f"{file}: expected {count} bytes after the header, got {found}: download it again")
    return values.reshape(shape)
