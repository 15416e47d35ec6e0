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

from ppzoo.errors import ConfigError

LONGEST_PREFIX = 50  # characters of a file's name in that of its temporary file, which may have 255 bytes


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, bring it to the disk, then put it in the place of `path`.

    Until the last step an older file of that name stays as it was; whatever stops the writing, no other file is
    left. The folder must be there: one that disappeared must not be made anew with a single file in it.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; it names `path`.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:LONGEST_PREFIX]}.", suffix=".tmp", dir=path.parent)
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
    except OSError as error:  # of the temporary file, of which the caller knows nothing
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except ValueError as error:
        if "\0" not in str(path):
            raise
        raise OSError(errno.EINVAL, "its name has a NUL", str(path)) from error


def is_url(name: object) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(name)) is not None


def local_path(name: str | os.PathLike[str], what: str) -> Path:
    """`name` as a path; of a URL it would lose a slash.

    Raises:
        ConfigError: it is a URL; `what` is expected on this machine.
    """
    if is_url(name):
        raise ConfigError(f"{what}: expected a path on this machine, received the URL {str(name)!r}")
    return Path(name)


def make_parent(path: str | os.PathLike[str]) -> None:
    """Make the folders on the way to `path` that are missing.

    Raises:
        OSError: one cannot be made, or is a file.
    """
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name has a NUL", str(folder)) from error


def read_plain_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a file (`open_plain_file`)."""
    with open_plain_file(path) as file:
        return file.read()


def open_plain_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading that is one: a pipe might keep us waiting for ever, a device might never end.

    Raises:
        OSError: it cannot be read, or is none; a NUL in its name counts as such.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name has a NUL", os.fspath(path)) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # the system has its own words for folders
        raise OSError(errno.EINVAL, "it is a pipe or a device", os.fspath(path))
    return open(path, "rb")


def is_utf8(name: str) -> bool:
    """Whether a file's name, as the system answers it under whatever locale, is written in UTF-8."""
    try:
        os.fsencode(name).decode()
    except UnicodeError:
        return False
    return True


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
