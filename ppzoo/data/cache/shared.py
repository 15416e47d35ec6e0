"""Small arrays that a process shares with its forked children, and why a cache stopped storing images."""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any

import numpy as np

LIMIT_REACHED = -1  # instead of an errno


class SharedVector:
    """N integers, initially 0, that forked processes share; a spawned process gets separate ones, all 0.

    Reading or writing one integer is atomic.
    """

    def __init__(self, length: int, dtype: str = "int64") -> None:
        self.arguments = length, dtype
        self.values = np.frombuffer(mmap.mmap(-1, max(length, 1) * np.dtype(dtype).itemsize), dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.arguments


class Problem:
    """Why images cannot be stored any more: the number of a system error, or a limit that was reached."""

    def __init__(self) -> None:
        self.code = SharedVector(1)

    def __bool__(self) -> bool:
        return bool(self.code.values[0])

    def record(self, error: OSError | None = None) -> None:
        """Record a system error; None: the limit of the cache is reached."""
        self.code.values[0] = LIMIT_REACHED if error is None else error.errno or errno.EIO

    def describe(self, limit: str) -> str:
        """Return why images cannot be stored any more; `limit` is the reason if a limit was reached."""
        code = int(self.code.values[0])
        return limit if code == LIMIT_REACHED else os.strerror(code)
