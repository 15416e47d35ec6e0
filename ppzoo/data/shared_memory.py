"""Memory that a process shares with its children, without a name: it is gone when the last of them ends, however.

Files in /dev/shm stay when a process is killed, and containers give them little room; a nameless file does neither.
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
MARGIN = 1 << 16  # room for labels behind the images


class Place(NamedTuple):
    """Where an array lies, and what it is."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class SharedArrays:
    """Room for a few arrays. It grows with what is written, and is created before the processes that use it."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):  # Linux
            self.file = os.memfd_create("ppzoo")
        else:
            with tempfile.TemporaryFile() as file:
                self.file = os.dup(file.fileno())
        self.memory: mmap.mmap | None = None

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A first array to be filled in place, so that `write` has nothing to copy."""
        return self._reserve([Place(0, shape, dtype.str)])[0]

    def write(self, arrays: Sequence[np.ndarray]) -> list[Place]:
        """Put arrays in the place of those that were there; what `read` needs to know to find them."""
        places, end = [], 0
        for array in arrays:
            places.append(Place(end, array.shape, array.dtype.str))
            end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        for array, view in zip(arrays, self._reserve(places), strict=True):
            if array.ctypes.data != view.ctypes.data:
                view[...] = array
        return places

    def read(self, places: Sequence[Place]) -> list[np.ndarray]:
        """The arrays that lie there, until others are written."""
        if self.memory is None or _end(places) > len(self.memory):
            self.memory = mmap.mmap(self.file, 0)  # views of an older mapping keep it
        return [
            np.frombuffer(self.memory, place.dtype, _count(place), place.offset).reshape(place.shape)
            for place in places
        ]

    def _reserve(self, places: Sequence[Place]) -> list[np.ndarray]:
        if _end(places) > os.fstat(self.file).st_size:
            os.ftruncate(self.file, _end(places) + MARGIN)
        return self.read(places)

    def close(self) -> None:
        """Free the memory, also where other processes that were forked meanwhile have the file open."""
        os.ftruncate(self.file, 0)
        os.close(self.file)


def _count(place: Place) -> int:
    return math.prod(place.shape)


def _end(places: Sequence[Place]) -> int:
    return max(place.offset + _count(place) * np.dtype(place.dtype).itemsize for place in places)
