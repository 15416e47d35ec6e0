"""Finding files of equal content; files whose size is unique are not read."""

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


def digest_content(content: bytes) -> bytes:
    """Return a 16-byte digest of a file's content."""
    return hashlib.blake2b(content, digest_size=16).digest()


def map_in_threads(
    function: Callable[[T], R], items: Sequence[T], *, workers: int | None, label: str, unit: str = "image"
) -> Iterable[R]:
    """Yield `function(item)` for each item, in order, computed by threads, with a progress bar on a terminal.

    Args:
        workers: number of threads; None: one per processor.
        label, unit: label of the progress bar, and its unit.
    """
    threads = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(items), desc=label, unit=unit, disable=None) as bar:
        # In chunks, because an executor keeps every result that has not been taken.
        for start in range(0, len(items), 64 * threads):
            for result in pool.map(function, items[start : start + 64 * threads]):
                bar.update()
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
    digests = map_in_threads(_digest_file, [paths[index] for index in candidates], workers=workers, label="comparing")
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
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                state.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {path!r} ({error.strerror}): restore or remove the file") from error
    return state.digest()
