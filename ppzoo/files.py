"""Writing files so that a reader, or a crash, never meets half of one, and telling whether they still are the same."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, bring it to the disk, then put it in the place of `path`.

    Until the last step an older file of that name stays as it was; whatever stops the writing, no other file is
    left. The folder must be there: one that disappeared must not be made anew with a single file in it.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(path.parent)


def read_plain_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that is one: a pipe might keep us waiting for ever, a device might never end.

    Raises:
        OSError: it cannot be read, or is none.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # the system has its own words for folders
        raise OSError(errno.EINVAL, "it is a pipe or a device")
    return Path(path).read_bytes()


def leftovers(folder: Path) -> list[Path]:
    """What a killed `write_atomically` left in a folder."""
    return [file for file in folder.glob(".*.tmp") if re.fullmatch(r"\..+\.[a-z0-9_]{8}\.tmp", file.name)]


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """`write_atomically` for text, in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, which only the user may write whatever the umask is."""
    for step in [*reversed(folder.parents), folder]:
        if not step.is_dir():
            try:
                step.mkdir(mode=0o755)
            except FileExistsError:
                if not step.is_dir():  # else another process was faster
                    raise


def _umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Bring the folder's own entries to the disk, so that the new name survives a power cut; POSIX only."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
