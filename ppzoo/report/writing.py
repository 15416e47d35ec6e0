"""How the observers write: whole files, and what goes wrong is told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ppzoo.errors import TrainingError
from ppzoo.files import write_atomically


def write_lines(path: Path, text: str) -> None:
    """`write_report` of text, in UTF-8; names of files that are not pass as they are."""
    content = text.encode(errors="surrogateescape")
    write_report(path, lambda file: file.write(content))


def write_report(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """`write_atomically`.

    Raises:
        TrainingError: the disk is full or the folder gone.
    """
    try:
        write_atomically(path, write)
    except OSError as error:
        why = error.strerror or error if path.parent.is_dir() else "the folder of the run is gone"
        raise TrainingError(f"{path}: cannot be written: {why}") from error
