"""Reads that return exactly the bytes requested, or raise before anything is allocated."""

from __future__ import annotations

import io
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

PARALLEL_THRESHOLD = 1 << 22  # bytes from which on several threads read
PIECE = 1 << 20  # bytes per read of a thread
THREADS = 4


def read_exactly(stream: BinaryIO, nbytes: int) -> np.ndarray:
    """Return the next `nbytes` bytes of a seekable file as newly allocated uint8.

    Raises:
        EOFError: the file has fewer; nothing was allocated.
    """
    position = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    if nbytes > end - position:
        raise EOFError
    if nbytes >= PARALLEL_THRESHOLD and hasattr(os, "preadv") and not isinstance(stream, io.BytesIO):
        values = _read_in_threads(stream.fileno(), position, nbytes)
        stream.seek(position + nbytes)
        return values
    values = np.empty(nbytes, np.uint8)
    if stream.readinto(values.data) != nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return values


def _read_in_threads(descriptor: int, position: int, nbytes: int) -> np.ndarray:
    """Read into newly mapped memory; faulting in its pages takes longer than copying and runs in parallel.

    The pages have the normal size: NumPy requests huge pages, for which the kernel may first have to compact memory.
    """
    values = np.frombuffer(mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)

    def read_piece(start: int) -> int:
        return os.preadv(descriptor, [values[start : start + PIECE].data], position + start)

    with ThreadPoolExecutor(THREADS) as pool:
        if sum(pool.map(read_piece, range(0, nbytes, PIECE))) != nbytes:
            raise EOFError
    return values
