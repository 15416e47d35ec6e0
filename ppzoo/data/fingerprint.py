"""Files of equal content, found without reading those that no other file can equal."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from ppzoo.errors import DataError

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

CHUNK = 1 << 20


def digest(content: bytes) -> bytes:
    """16 bytes that stand for a content."""
    return hashlib.blake2b(content, digest_size=16).digest()


def in_parallel(
    function: Callable[[T], R], items: Sequence[T], *, workers: int | None, label: str, unit: str = "image"
) -> Iterable[R]:
    """What a function answers for each item, in order, by threads, with a progress bar on a terminal.

    Args:
        workers: number of threads; None: one a processor.
        label, unit: what the bar is called, and an item.
    """
    threads = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(items), desc=label, unit=unit, disable=None) as bar:
        # Not all at once: an executor holds every answer that nobody has taken yet.
        for start in range(0, len(items), 64 * threads):
            for answer in pool.map(function, items[start : start + 64 * threads]):
                bar.update()
                yield answer


def group_by(pairs: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for key, item in pairs:
        groups[key].append(item)
    return dict(groups)


def equal_files(paths: Sequence[str], *, workers: int | None = None) -> list[list[int]]:
    """Groups of two or more indices of files with equal content.

    Raises:
        DataError: a file cannot be read.
    """
    sizes = group_by((_size(path), index) for index, path in enumerate(paths))
    candidates = sorted(index for group in sizes.values() if len(group) > 1 for index in group)
    digests = in_parallel(_digest_file, [paths[index] for index in candidates], workers=workers, label="comparing")
    groups = group_by(zip(digests, candidates, strict=True))
    return [group for group in groups.values() if len(group) > 1]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise DataError(f"cannot read {path!r} ({error.strerror}): restore or remove the file") from error


def _digest_file(path: str) -> bytes:
    """The digest of a file, read in pieces."""
    state = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                state.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {path!r} ({error.strerror}): restore or remove the file") from error
    return state.digest()
