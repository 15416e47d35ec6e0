"""The check before training whether images can be read, so that a broken image is not found only after hours.

All images of datasets of up to `MAX_DECODED` images are read and transformed. For larger datasets of image files, only
the files are checked (each exists, is a regular file and is not empty), in some microseconds per image. The images of
other large datasets are not checked here; `TarShards` checks the structure of its shards when it opens them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppzoo.data.batch_reader import Failure
from ppzoo.data.class_names import RelabeledDataset
from ppzoo.data.datasets import ImageFiles
from ppzoo.data.duplicates import map_in_threads
from ppzoo.data.samples import Samples
from ppzoo.errors import DataError

MAX_DECODED = 1000
CHUNK = 50  # images per task of a thread


def find_unreadable(samples: Samples, *, part: int = 0, parts: int = 1) -> list[Failure]:
    """Return the samples that the check finds to be unreadable.

    Args:
        part, parts: check only the samples `part`, `part` + `parts`, ..., for processes that share the work.
    """
    dataset, is_small = samples.dataset, len(samples) <= MAX_DECODED
    if isinstance(dataset, RelabeledDataset):
        dataset = dataset.dataset  # has the same images

    def check(index: int) -> None:
        if is_small:
            samples.read((0, index))
        elif isinstance(dataset, ImageFiles):
            dataset.require_file(index)

    def failures(indices: Sequence[int]) -> list[Failure]:
        found = []
        for index in indices:
            try:
                check(index)
            except DataError as error:
                found.append(Failure(index, str(error)))
        return found

    indices = range(part, len(samples), parts)
    chunks = [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]
    found = map_in_threads(failures, chunks, workers=None, label="verifying images", count=len)
    return [failure for in_chunk in found for failure in in_chunk]
