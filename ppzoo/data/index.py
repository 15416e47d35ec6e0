"""The index of a dataset: paths and labels of up to tens of millions of files, in a few flat buffers.

A Python list of 14 million strings takes gigabytes. Every forked worker would copy it, because reading a string changes
its reference count. Here the text of the list is one block of bytes, with offset, length and label per sample in NumPy
arrays; forked workers share all of these.
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
MAX_LABEL_DIGITS = 9  # fits in int32
MAX_PATH_BYTES = 4096  # limit of Linux

NEWLINE, ZERO = 10, 48
IS_SPACE = np.zeros(256, bool)
IS_SPACE[list(b" \t\r")] = True


@dataclass(frozen=True)
class PathIndex:
    """Paths and labels of N samples.

    Attributes:
        text: bytes that contain all paths, as `os.fsencode` encodes them.
        starts, lengths: offset and length of each path in `text`, (N,) int64 and int32.
        labels: (N,) int32.
        skipped: numbers (from 1, ascending) of the lines of the list file that contain no sample.
    """

    text: bytes
    starts: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    skipped: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def path(self, index: int) -> str:
        """Return the path of sample `index`."""
        start = int(self.starts[index])
        return os.fsdecode(self.text[start : start + int(self.lengths[index])])

    def line(self, index: int) -> int:
        """Return the number (from 1) of the line of sample `index`."""
        samples_before = self.skipped - 1 - np.arange(len(self.skipped))
        return index + 1 + int(np.searchsorted(samples_before, index, side="right"))


def index_paths(paths: Iterable[tuple[str, int]], skipped: Sequence[int] = ()) -> PathIndex:
    """Build the index of (path, label) pairs; `skipped` can be filled while they are iterated."""
    encoded, labels = [], []
    for path, label in paths:
        encoded.append(os.fsencode(path))
        labels.append(label)
    lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return PathIndex(b"".join(encoded), starts, lengths, np.array(labels, np.int32), np.array(skipped, np.int64))


def read_list(file: str | Path, *, class_num: int | None = None, delimiter: str | None = None) -> PathIndex:
    """Read a list file with one path and one label per line, separated by the last space or tab (or `delimiter`).

    Blank lines, and spaces around the path, are ignored. LF and CRLF line ends and a byte-order mark are accepted.

    Args:
        class_num: labels must be below it; None: any label of up to `MAX_LABEL_DIGITS` digits.
        delimiter: one ASCII character; None: space or tab.

    Raises:
        DataError: the file cannot be read or is empty, or a line has another format or a label out of range; the error
            names the file and the line.
        ConfigError: the delimiter is not one ASCII character.
    """
    if delimiter is not None and (len(delimiter) != 1 or ord(delimiter) in (0, NEWLINE) or ord(delimiter) > 127):
        raise ConfigError(f"delimiter: expected one ASCII character such as ' ' or ',', got {delimiter!r}")
    try:
        text = read_plain_file(file)
    except OSError as error:
        raise DataError(
            f"cannot read the list file {str(file)!r} ({error.strerror}): correct dataset.cls_label_path"
        ) from error
    index = _ListReader(str(file), text, class_num, delimiter or " \t").read()
    if not len(index):
        raise DataError(f"the list file {str(file)!r} lists no images: expected lines such as 'folder/image.jpg 0'")
    return index


class _ListReader:
    """Parses a list file in chunks, each with vectorized operations."""

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
        """Yield start and end of chunks that consist of complete lines."""
        start = 3 if self.text.startswith(b"\xef\xbb\xbf") else 0
        while start < len(self.text):
            end = self.text.find(b"\n", start + CHUNK_BYTES) + 1 or len(self.text)
            yield start, end
            start = end

    def _read_chunk(self, offset: int, end: int) -> tuple[np.ndarray, ...]:
        """Return starts, lengths and labels of the chunk's samples, and the numbers of its blank lines."""
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
            self._raise_invalid(numbers[first], chunk[starts[first] : ends[first]].tobytes().decode())
        return starts + offset, (path_ends - starts).astype(np.int32), labels.astype(np.int32), skipped

    def _split(self, chunk: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the end of the path, and the label, of each line; the end is the start if there is no label."""
        path_ends, labels = starts.copy(), np.zeros(len(starts), np.int64)
        unfinished = np.arange(len(starts))
        for digits_read in range(MAX_LABEL_DIGITS + 1):
            at = ends[unfinished] - 1 - digits_read
            inside = at >= starts[unfinished]
            unfinished, at = unfinished[inside], at[inside]
            byte = chunk[at]
            if digits_read:
                finished = self.is_delimiter[byte]
                path_ends[unfinished[finished]] = at[finished]
            digit = byte - np.uint8(ZERO)  # characters below "0" wrap around to large numbers
            is_digit = digit < 10
            unfinished = unfinished[is_digit]
            labels[unfinished] += digit[is_digit].astype(np.int64) * 10**digits_read
        return path_ends, labels

    def _check_text(self, chunk: np.ndarray, offset: int, starts: np.ndarray) -> None:
        position = None
        if not chunk.all():
            position = int(np.argmin(chunk))
        elif chunk.max() > 127:
            try:
                self.text[offset : offset + len(chunk)].decode()
            except UnicodeDecodeError as error:
                position = error.start
        if position is not None:
            number = self.lines_before + int(np.searchsorted(starts, position, side="right"))
            raise DataError(f"{self.file}, line {number}: expected UTF-8 text, got other bytes: save it as UTF-8")

    def _raise_invalid(self, number: int, line: str) -> NoReturn:
        """Raise the DataError that explains why a line is invalid."""
        shown = repr(line if len(line) <= 120 else line[:117] + "...")
        where = f"{self.file}, line {number}"
        cut = max(line.rfind(chr(delimiter)) for delimiter in np.flatnonzero(self.is_delimiter))
        label = line[cut + 1 :]
        if cut < 0 or not line[:cut].strip():
            other = next(
                (character for character in ",;\t " if character in line and not self.is_delimiter[ord(character)]),
                None,
            )
            fix = f", or set dataset.delimiter to {other!r}" if other else ""
            raise DataError(
                f"{where}: expected a path, {self.delimiter_name} and a label, got {shown}: correct the line{fix}"
            )
        digits = label.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise DataError(f"{where}: expected an integer label at the end, got {shown}: write the class index")
        if len(line[:cut].encode()) > MAX_PATH_BYTES:
            raise DataError(
                f"{where}: expected a path of at most {MAX_PATH_BYTES} bytes, got {shown}: correct the line"
            )
        if self.class_num is None:
            limits = f"expected a label from 0 to {10**MAX_LABEL_DIGITS - 1}"
            raise DataError(f"{where}: {limits}, got {shown}: correct the label")
        relabel = ", or set dataset.relabel to true if labels start at 1" if label == str(self.class_num) else ""
        fix = f"correct the label or Arch.class_num{relabel}"
        raise DataError(f"{where}: label {label} is outside [0, class_num = {self.class_num}), got {shown}: {fix}")


def _trim_right(chunk: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Move `ends` before trailing spaces, in place."""
    candidates = np.flatnonzero(ends > starts)
    while len(candidates := candidates[IS_SPACE[chunk[ends[candidates] - 1]]]):
        ends[candidates] -= 1
        candidates = candidates[ends[candidates] > starts[candidates]]


def _trim_left(chunk: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Move `starts` after leading spaces, in place."""
    candidates = np.flatnonzero(ends > starts)
    while len(candidates := candidates[IS_SPACE[chunk[starts[candidates]]]]):
        starts[candidates] += 1
        candidates = candidates[ends[candidates] > starts[candidates]]
