"""Writing files so that a reader, or a crash, never meets half of one, and telling whether they still are the same."""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO

from ppzoo.errors import ConfigError

LONGEST_PREFIX = 50  # characters of a file's name in that of its temporary file, which may have 255 bytes
WEIGHTS = ".pdparams"
EPOCH = re.compile(r"epoch_[0-9]+")  # a checkpoint of that epoch

IS_PATH = "path"
PathText = Annotated[str, IS_PATH]
"""A path that a configuration gives; it may begin with `~`."""


def expand_user(path: str) -> str:
    """The path with `~` or `~USER` at its beginning replaced by that user's home folder, if there is such a user."""
    return os.path.expanduser(path)


def weights_of_run(folder: Path, *, to_resume: bool = False) -> Path | None:
    """The weights in a run's folder that are meant most of the time, as a path without suffix; None where it has none.

    Args:
        to_resume: the latest ones, from which a run can be resumed, before the best ones.
    """
    names = [file.name.removesuffix(WEIGHTS) for file in folder.glob(f"*{WEIGHTS}")] if os.path.isdir(folder) else []
    epochs = sorted((name for name in names if EPOCH.fullmatch(name)), key=lambda name: -int(name.partition("_")[2]))
    order = ["latest", *epochs, "best_model"] if to_resume else ["best_model", "latest", *epochs]
    return next((folder / name for name in order if name in names), None)


def weights_suggestion(path: Path, *, to_resume: bool = False) -> str:
    """'; did you mean X?' where there are no weights `path`: a similar name beside it, else those of the run there.

    Empty where there are none. The names of epochs are all similar, and one is not a mistyped other.
    """
    folder = path if os.path.isdir(path) else path.parent
    if not os.path.isdir(folder):
        return ""
    names = [file.name for file in folder.glob(f"*{WEIGHTS}") if not EPOCH.fullmatch(file.name.removesuffix(WEIGHTS))]
    near = difflib.get_close_matches(path.name.removesuffix(WEIGHTS) + WEIGHTS, sorted(names), n=1, cutoff=0.8)
    found = folder / near[0].removesuffix(WEIGHTS) if near else weights_of_run(folder, to_resume=to_resume)
    return f"; did you mean {str(found)!r}?" if found else ""


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
                if hasattr(os, "fchmod"):  # by descriptor: another user may have put a link in the place of the name
                    os.fchmod(file.fileno(), 0o666 & ~_umask())
                os.fsync(file.fileno())
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
        raise ConfigError(f"{what}: expected a path on this machine, got the URL {str(name)!r}")
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


def open_without_links(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """The `opener` of `open` for a file that is written under a predictable name: a link planted there is not followed.

    Raises:
        OSError: the name is a link, a pipe or a device, or the file cannot be opened.
    """
    if os.path.islink(path):  # for its message; O_NOFOLLOW decides
        raise OSError(errno.ELOOP, f"{path} is a link, which is not followed: remove it")
    handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), mode)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, f"{path} is not a regular file: remove it")
    return handle


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
    """Whether a file's name, as the system returns it under any locale, is written in UTF-8."""
    try:
        os.fsencode(name).decode()
    except UnicodeError:
        return False
    return True


def temporary_files(folder: Path) -> list[Path]:
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
