"""Finding the images that two datasets share, such as training images in the evaluation data."""

from __future__ import annotations

import os
from functools import partial

import numpy as np

from ppzoo.data.datasets import Dataset
from ppzoo.data.duplicates import digest_content, group_by, map_in_threads
from ppzoo.errors import DataError


def find_shared_images(first: Dataset, second: Dataset, *, max_bytes: int) -> list[tuple[int, int]] | None:
    """Return (index in `first`, index in `second`) of images with equal content, in the order of `second`.

    Image files are only read if their size in bytes occurs in both datasets. An image of `second` is paired with the
    first equal image of `first`. Images that cannot be read are ignored.

    Args:
        max_bytes: if more bytes would have to be read, None is returned.
    """
    datasets = first, second
    sizes = [group_by((_size(dataset, index), index) for index in range(len(dataset))) for dataset in datasets]
    common = set(sizes[0]) & set(sizes[1])
    if sum(size * (len(sizes[0][size]) + len(sizes[1][size])) for size in common) > max_bytes:
        return None
    digests = []
    for dataset, by_size in zip(datasets, sizes, strict=True):
        candidates = sorted(index for size in common for index in by_size[size])
        contents = map_in_threads(partial(_digest, dataset), candidates, workers=None, label="comparing")
        digests.append(group_by(zip(contents, candidates, strict=True)))
        digests[-1].pop(b"", None)
    pairs = [(digests[0][key][0], index) for key in digests[0].keys() & digests[1].keys() for index in digests[1][key]]
    return sorted(pairs, key=lambda pair: pair[1])


def _size(dataset: Dataset, index: int) -> int:
    """Return the size of an image in bytes, without reading it if it is in a file; 0 if it cannot be read."""
    sizes = getattr(getattr(dataset, "dataset", dataset), "sizes", None)  # tar shards have them, also if relabeled
    if sizes is not None:
        return int(sizes[index])
    try:
        return os.stat(dataset.describe(index)).st_size
    except (OSError, ValueError):  # not a file
        source = _read(dataset, index)
        return source.nbytes if isinstance(source, np.ndarray) else len(source)


def _digest(dataset: Dataset, index: int) -> bytes:
    """Return the digest of an image's content; b"" if it cannot be read."""
    source = _read(dataset, index)
    return digest_content(source.tobytes() if isinstance(source, np.ndarray) else source) if len(source) else b""


def _read(dataset: Dataset, index: int) -> bytes | np.ndarray:
    try:
        return dataset[index][0]
    except DataError:
        return b""
