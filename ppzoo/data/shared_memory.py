"""Memory that a process shares with its forked children, without a name: it is freed when the last of them ends.

Named files in /dev/shm stay when a process is killed, and containers limit their size; an unnamed file has neither
problem.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ALIGNMENT = 64
MARGIN = 1 << 16  # bytes for the labels behind the images


class ArrayLayout(NamedTuple):
    """Offset in bytes, shape and data type of an array in the buffer."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class SharedArrays:
    """A buffer for a few arrays. It grows with what is written, and is created before the processes that use it."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):  # Linux
            self.file = os.memfd_create("ppzoo")
        else:
            with tempfile.TemporaryFile() as file:
                self.file = os.dup(file.fileno())
        self.memory: mmap.mmap | None = None

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Allocate the first array, which the caller fills in place, so that `write` need not copy it."""
        return self._reserve([ArrayLayout(0, shape, dtype.str)])[0]

    def write(self, arrays: Sequence[np.ndarray]) -> list[ArrayLayout]:
        """Overwrite the buffer with arrays and return their layout, for `read`."""
        layouts, end = [], 0
        for array in arrays:
            layouts.append(ArrayLayout(end, array.shape, array.dtype.str))
            end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        for array, view in zip(arrays, self._reserve(layouts), strict=True):
            if array.ctypes.data != view.ctypes.data:
                view[...] = array
        return layouts

    def read(self, layouts: Sequence[ArrayLayout]) -> list[np.ndarray]:
        """Return views of the arrays in the buffer, valid until the next `write`."""
        if self.memory is None or _end(layouts) > len(self.memory):
            self.memory = mmap.mmap(self.file, 0)  # views of the older mapping keep it in memory
        return [
            np.frombuffer(self.memory, layout.dtype, math.prod(layout.shape), layout.offset).reshape(layout.shape)
            for layout in layouts
        ]

    def _reserve(self, layouts: Sequence[ArrayLayout]) -> list[np.ndarray]:
        if _end(layouts) > os.fstat(self.file).st_size:
            os.ftruncate(self.file, _end(layouts) + MARGIN)
        return self.read(layouts)

    def close(self) -> None:
        """Free the memory, even if processes that were forked meanwhile have the file open."""
        os.ftruncate(self.file, 0)
        os.close(self.file)


def _end(layouts: Sequence[ArrayLayout]) -> int:
    return max(layout.offset + math.prod(layout.shape) * np.dtype(layout.dtype).itemsize for layout in layouts)
