"""A file of records that stays open, and that a resumed run continues.

VisualDL reads one file per folder and TensorBoard expects increasing step numbers, so a resumed run continues the
existing file, from which the records of unfinished epochs and steps are removed first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ppzoo.files import make_parent, open_without_links, read_plain_file, temporary_files, write_atomically
from ppzoo.report.loggers.base import EPOCH, GRADIENTS, RUN, STEP, WEIGHTS, RunStart

META = "meta_data_tag"  # tag of the first record of a file; the name is VisualDL's
HYPERPARAMETERS = ("hparam", "_hparams_/")  # tags of VisualDL and TensorBoard
MERGED = "continued"  # a file name that no reader searches for


class Located(NamedTuple):
    """A record in the content of a file: its tag and number, and where it starts and ends."""

    tag: str
    number: int
    start: int
    end: int


Locate = Callable[[bytes], Iterator[Located]]
"""Yields the records of a file's content, up to the first that is damaged or incomplete."""


class RecordFile:
    """Appends records to a file in a folder.

    Args:
        folder: created if it is missing.
        name: name of a new file.
        pattern: shell pattern of the record files in the folder, which a resumed run merges and continues.
        locate: finds the records of a file.
        start: the epoch and step at which the run starts.

    Attributes:
        is_new: whether the file is empty.

    Raises:
        OSError: the file cannot be read or written; `filename` is its path.
    """

    def __init__(self, folder: Path, name: str, pattern: str, locate: Locate, start: RunStart) -> None:
        self.path = folder / name
        try:
            make_parent(self.path)
            earlier = sorted(folder.glob(pattern))
            if earlier:
                self.path = earlier[-1]
                _merge_files(earlier, locate, start.epochs, start.steps)
            self._file = open(self.path, "ab", buffering=0, opener=open_without_links)  # noqa: SIM115
        except OSError as error:
            raise self._error(error) from error
        self.is_new = not os.fstat(self._file.fileno()).st_size

    def write(self, content: bytes) -> None:
        """Append records.

        Raises:
            OSError: the disk is full, or the file was removed.
        """
        try:
            if not os.fstat(self._file.fileno()).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "the file was removed")
            written = self._file.write(content)
            if written != len(content):  # a disk that becomes full accepts a part; the next call raises the error
                self._file.write(content[written:])
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        self._file.close()

    def _error(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror or str(error), str(self.path))


def _merge_files(files: Sequence[Path], locate: Locate, epochs: int, steps: int) -> None:
    """Merge the records of finished epochs and steps into the last of the files, and remove the others.

    Each file replaces the records of earlier files from its first epoch and step on. Records about the run itself, such
    as its hyperparameters, are removed, since the resumed run writes them again. If the process is killed during the
    merge, the last file is either unchanged or completely merged, and the merge can be repeated.
    """
    pieces: list[bytes] = []
    for file in reversed(files):
        content, ranges = read_plain_file(file), [[0, 0]]
        first_epoch, first_step = epochs + 1, steps
        for tag, number, start, end in locate(content):
            if tag.startswith(STEP):
                keeps, first_step = number < steps, min(first_step, number)
            elif tag.startswith((EPOCH, WEIGHTS, GRADIENTS)):
                keeps, first_epoch = number <= epochs, min(first_epoch, number)
            elif tag.startswith((RUN, *HYPERPARAMETERS)):
                keeps = False
            else:
                keeps = tag != META or file is files[0]
            if keeps and ranges[-1][1] == start:
                ranges[-1][1] = end
            elif keeps:
                ranges.append([start, end])
        pieces = [*(content[start:end] for start, end in ranges), *pieces]
        epochs, steps = first_epoch - 1, first_step
    merged = files[-1].with_name(MERGED)
    write_atomically(merged, lambda file: file.writelines(pieces))
    os.replace(merged, files[-1])
    for obsolete in [*files[:-1], *temporary_files(files[-1].parent)]:
        obsolete.unlink(missing_ok=True)
