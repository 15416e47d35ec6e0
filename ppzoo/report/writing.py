"""Atomic writing of report files, with errors of one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ppzoo.errors import TrainingError
from ppzoo.files import write_atomically


def write_lines(path: Path, text: str) -> None:
    """Write text as UTF-8 with `write_report`; bytes of file names that are not UTF-8 are kept."""
    content = text.encode(errors="surrogateescape")
    write_report(path, lambda file: file.write(content))


def write_report(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file with `write_atomically`.

    Raises:
        TrainingError: the disk is full or the folder does not exist.
    """
    try:
        write_atomically(path, write)
    except OSError as error:
        missing = "the folder of the run does not exist any more"
        reason = error.strerror or error if path.parent.is_dir() else missing
        raise TrainingError(f"cannot write {path}: {reason}") from error
