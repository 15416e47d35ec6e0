"""Finding files of equal content; files whose size is unique are not read."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ppzoo.errors import DataError
from ppzoo.files import open_plain_file
from ppzoo.progress import Progress

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

CHUNK = 1 << 20


def digest_content(content: bytes) -> bytes:
    """Return a 16-byte digest of a file's content."""
    return hashlib.blake2b(content, digest_size=16).digest()


def map_in_threads(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int | None,
    label: str,
    unit: str = "image",
    count: Callable[[T], int] = lambda item: 1,
) -> Iterable[R]:
    """Yield `function(item)` for each item, in order, computed by threads, and show the progress.

    Args:
        workers: number of threads; None: one per processor.
        label, unit: what is done, and what is counted, for the progress bar.
        count: the number of units of an item.
    """
    threads = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool, Progress(sum(map(count, items)), label, unit=unit) as progress:
        # In chunks, because an executor keeps all results in memory until they are taken.
        for start in range(0, len(items), 64 * threads):
            chunk = items[start : start + 64 * threads]
            for item, result in zip(chunk, pool.map(function, chunk), strict=True):
                progress.advance(count(item))
                yield result


def group_by(pairs: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    """Group the items of (key, item) pairs by key."""
    groups: dict[K, list[T]] = defaultdict(list)
    for key, item in pairs:
        groups[key].append(item)
    return dict(groups)


def find_duplicate_files(paths: Sequence[str], *, workers: int | None = None) -> list[list[int]]:
    """Return groups of two or more indices of files with equal content.

    Raises:
        DataError: a file cannot be read.
    """
    sizes = group_by((_size(path), index) for index, path in enumerate(paths))
    candidates = sorted(index for group in sizes.values() if len(group) > 1 for index in group)
    files = [paths[index] for index in candidates]
    digests = map_in_threads(_digest_file, files, workers=workers, label="comparing files", unit="file")
    groups = group_by(zip(digests, candidates, strict=True))
    return [group for group in groups.values() if len(group) > 1]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise DataError(f"cannot read {path!r} ({error.strerror}): restore or remove the file") from error


def _digest_file(path: str) -> bytes:
    """Return the digest of a file, read in chunks."""
    state = hashlib.blake2b(digest_size=16)
    try:
        with open_plain_file(path) as file:
            while chunk := file.read(CHUNK):
                state.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {path!r} ({error.strerror}): restore or remove the file") from error
    return state.digest()
