"""A first look at images whose turn comes much later, so that a broken one is found before hours of training.

Up to `READ` images are read and transformed as they will be, which costs what one evaluation costs without the network.
Of larger data sets only the files are looked up: that each is there and not empty, at some microseconds an image.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppzoo.data.datasets import ImageFiles
from ppzoo.data.fingerprint import in_parallel
from ppzoo.data.reading import Failure
from ppzoo.data.samples import Samples
from ppzoo.errors import DataError

READ = 1000
CHUNK = 50  # images that a thread takes at a time


def unreadable(samples: Samples, *, part: int = 0, parts: int = 1) -> list[Failure]:
    """The samples that cannot be read, as far as this look shows it.

    Args:
        part, parts: which share of the samples is looked at, of several processes that share them.
    """
    dataset, is_small = samples.dataset, len(samples) <= READ

    def look(index: int) -> None:
        if is_small:
            samples.read((0, index))
        elif isinstance(dataset, ImageFiles):
            dataset.require_file(index)

    def failures(indices: Sequence[int]) -> list[Failure]:
        found = []
        for index in indices:
            try:
                look(index)
            except DataError as error:
                found.append(Failure(index, str(error)))
        return found

    indices = range(part, len(samples), parts)
    chunks = [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]
    found = in_parallel(failures, chunks, workers=None, label="verifying", unit=f" x {CHUNK} images")
    return [failure for several in found for failure in several]
