"""The index of a dataset: paths and labels of up to tens of millions of files, in a few flat buffers.

A Python list of 14 million strings costs gigabytes, and every worker process copies it as soon as reference
counts are touched. Here the text of the list stays one block of bytes with an offset, a length and a label a
sample in NumPy arrays, so that forked workers share all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from ppzoo.errors import ConfigError, DataError
from ppzoo.files import read_plain_file

CHUNK_BYTES = 1 << 24
MAX_LABEL_DIGITS = 9  # what fits in int32
MAX_PATH_BYTES = 4096  # what Linux takes

NEWLINE, ZERO = 10, 48
BLANK = np.zeros(256, bool)
BLANK[list(b" \t\r")] = True


@dataclass(frozen=True)
class PathIndex:
    """Paths and labels of N samples.

    Attributes:
        text: bytes in which all paths stand, UTF-8.
        starts, lengths: place of each path in `text`, (N,) int64 and int32.
        labels: (N,) int32.
        skipped: numbers (from 1, ascending) of the lines of `text` that hold no sample.
    """

    text: bytes
    starts: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    skipped: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def path(self, index: int) -> str:
        start = int(self.starts[index])
        return os.fsdecode(self.text[start : start + int(self.lengths[index])])

    def line(self, index: int) -> int:
        """Number (from 1) of the line that sample `index` comes from."""
        samples_before = self.skipped - 1 - np.arange(len(self.skipped))
        return index + 1 + int(np.searchsorted(samples_before, index, side="right"))


def index_paths(paths: Iterable[tuple[str, int]], skipped: Sequence[int] = ()) -> PathIndex:
    """The index of (path, label) pairs that are already at hand; `skipped` may be filled while they are read."""
    encoded, labels = [], []
    for path, label in paths:
        encoded.append(os.fsencode(path))
        labels.append(label)
    lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return PathIndex(b"".join(encoded), starts, lengths, np.array(labels, np.int32), np.array(skipped, np.int64))


def read_list(file: str | Path, *, class_num: int | None = None, delimiter: str | None = None) -> PathIndex:
    """Read a list file: a path and a label a line, parted by the last blank (or `delimiter`) of the line.

    Blank lines are passed over; so are blanks around the path. Both ends of line and a byte-order mark are fine.

    Args:
        class_num: labels must be below it; None: any label from 0 on.
        delimiter: one ASCII character; None: space or tab.

    Raises:
        DataError: the file is missing or empty, or a line is not as described: names the file and the line.
        ConfigError: the delimiter is not one character.
    """
    if delimiter is not None and (len(delimiter) != 1 or ord(delimiter) in (0, NEWLINE) or ord(delimiter) > 127):
        raise ConfigError(f"delimiter: expected one ASCII character, got {delimiter!r}: write e.g. ' ' or ','")
    try:
        text = read_plain_file(file)
    except OSError as error:
        raise DataError(
            f"cannot read the list file {str(file)!r} ({error.strerror}): correct dataset.cls_label_path"
        ) from error
    index = _ListReader(str(file), text, class_num, delimiter or " \t").read()
    if not len(index):
        raise DataError(f"the list file {str(file)!r} has no line with an image: expected 'relative/path label' lines")
    return index


class _ListReader:
    """Parses a list chunk by chunk, each chunk with whole-array operations."""

    def __init__(self, file: str, text: bytes, class_num: int | None, delimiters: str) -> None:
        self.file, self.text, self.class_num = file, text, class_num
        self.is_delimiter = np.zeros(256, bool)
        self.is_delimiter[list(delimiters.encode())] = True
        self.delimiter_name = "a space" if delimiters == " \t" else repr(delimiters)
        self.lines_before = 0

    def read(self) -> PathIndex:
        parts = [self._read_chunk(start, end) for start, end in self._chunks()]
        empty = np.empty(0, np.int64)
        starts, lengths, labels, skipped = (
            np.concatenate([part[column] for part in parts]) if parts else empty for column in range(4)
        )
        return PathIndex(self.text, starts, lengths, labels, skipped)

    def _chunks(self) -> Iterable[tuple[int, int]]:
        """Bounds of pieces of whole lines."""
        start = 3 if self.text.startswith(b"\xef\xbb\xbf") else 0
        while start < len(self.text):
            end = self.text.find(b"\n", start + CHUNK_BYTES) + 1 or len(self.text)
            yield start, end
            start = end

    def _read_chunk(self, offset: int, end: int) -> tuple[np.ndarray, ...]:
        """Starts, lengths and labels of the chunk's samples, and the numbers of its blank lines."""
        chunk = np.frombuffer(self.text, np.uint8, end - offset, offset)
        ends = np.flatnonzero(chunk == NEWLINE)
        if chunk[-1] != NEWLINE:
            ends = np.append(ends, len(chunk))
        starts = np.concatenate([[0], ends[:-1] + 1])
        self._check_text(chunk, offset, starts)

        _trim_right(chunk, starts, ends)
        _trim_left(chunk, starts, ends)
        filled = ends > starts
        numbers = self.lines_before + 1 + np.arange(len(starts))
        self.lines_before += len(starts)
        skipped, numbers = numbers[~filled], numbers[filled]
        starts, ends = starts[filled], ends[filled]

        path_ends, labels = self._split(chunk, starts, ends)
        _trim_right(chunk, starts, path_ends)
        wrong = (path_ends <= starts) | (path_ends > starts + MAX_PATH_BYTES)
        if self.class_num is not None:
            wrong |= labels >= self.class_num
        if wrong.any():
            first = int(np.argmax(wrong))
            self._refuse(numbers[first], chunk[starts[first] : ends[first]].tobytes().decode())
        return starts + offset, (path_ends - starts).astype(np.int32), labels.astype(np.int32), skipped

    def _split(self, chunk: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """End of the path and label of each line; the end is the start where there is no label."""
        path_ends, labels = starts.copy(), np.zeros(len(starts), np.int64)
        unfinished = np.arange(len(starts))
        for place in range(MAX_LABEL_DIGITS + 1):
            at = ends[unfinished] - 1 - place
            inside = at >= starts[unfinished]
            unfinished, at = unfinished[inside], at[inside]
            byte = chunk[at]
            if place:
                finished = self.is_delimiter[byte]
                path_ends[unfinished[finished]] = at[finished]
            digit = byte - np.uint8(ZERO)  # wraps round below "0"
            is_digit = digit < 10
            unfinished = unfinished[is_digit]
            labels[unfinished] += digit[is_digit].astype(np.int64) * 10**place
        return path_ends, labels

    def _check_text(self, chunk: np.ndarray, offset: int, starts: np.ndarray) -> None:
        place = None
        if not chunk.all():
            place = int(np.argmin(chunk))
        elif chunk.max() > 127:
            try:
                self.text[offset : offset + len(chunk)].decode()
            except UnicodeDecodeError as error:
                place = error.start
        if place is not None:
            number = self.lines_before + int(np.searchsorted(starts, place, side="right"))
            raise DataError(f"{self.file}, line {number}: expected text in UTF-8, got other bytes: save it as UTF-8")

    def _refuse(self, number: int, line: str) -> NoReturn:
        """Say what is wrong with a line that did not parse."""
        shown = repr(line if len(line) <= 120 else line[:117] + "...")
        where = f"{self.file}, line {number}"
        cut = max(line.rfind(chr(delimiter)) for delimiter in np.flatnonzero(self.is_delimiter))
        label = line[cut + 1 :]
        if cut < 0 or not line[:cut].strip():
            raise DataError(
                f"{where}: expected 'path label', got {shown}: add what is missing after {self.delimiter_name}"
            )
        digits = label.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise DataError(f"{where}: expected an integer label at the end, got {shown}: write the class's number")
        if len(line[:cut].encode()) > MAX_PATH_BYTES:
            raise DataError(
                f"{where}: expected a path of at most {MAX_PATH_BYTES} bytes, got {shown}: correct the line"
            )
        bound = 10**MAX_LABEL_DIGITS if self.class_num is None else f"class_num = {self.class_num}"
        relabel = ", or set dataset.relabel to true if labels begin at 1" if label == str(self.class_num) else ""
        fix = f"correct the label or Arch.class_num{relabel}"
        raise DataError(f"{where}: label {label} is outside [0, {bound}), got {shown}: {fix}")


def _trim_right(chunk: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Move `ends` before trailing blanks, in place."""
    candidates = np.flatnonzero(ends > starts)
    while len(candidates := candidates[BLANK[chunk[ends[candidates] - 1]]]):
        ends[candidates] -= 1
        candidates = candidates[ends[candidates] > starts[candidates]]


def _trim_left(chunk: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Move `starts` behind leading blanks, in place."""
    candidates = np.flatnonzero(ends > starts)
    while len(candidates := candidates[BLANK[chunk[starts[candidates]]]]):
        starts[candidates] += 1
        candidates = candidates[ends[candidates] > starts[candidates]]
