"""The rows that a table has already, by their keys.

A row takes 16 bytes of memory until the first look-up, and 33 bytes from then on, so that millions of rows fit.
"""

from __future__ import annotations

import hashlib
from array import array

import numpy as np

BYTES = 8  # of each half of a digest


class DoneRows:
    """A multiset of keys. First all keys are added; then each can be taken as often as it was added."""

    def __init__(self) -> None:
        self._added = array("Q")
        self._high: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._added) // 2

    def add(self, key: str) -> None:
        self._added.extend(_digest(key))

    def take(self, key: str) -> bool:
        """Return whether `key` was added and not taken yet, and take it."""
        if not self._added:
            return False
        if self._high is None:
            halves = np.frombuffer(self._added, np.uint64).reshape(-1, 2)
            order = np.argsort(halves[:, 0], kind="stable")
            self._high, self._low = halves[order, 0], halves[order, 1]
            self._is_taken = np.zeros(len(order), bool)
        high, low = _digest(key)
        start, stop = (int(np.searchsorted(self._high, np.uint64(high), side)) for side in ("left", "right"))
        for index in range(start, stop):
            if self._low[index] == low and not self._is_taken[index]:
                self._is_taken[index] = True
                return True
        return False


def _digest(key: str) -> tuple[int, int]:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=2 * BYTES).digest()
    return int.from_bytes(digest[:BYTES], "little"), int.from_bytes(digest[BYTES:], "little")
