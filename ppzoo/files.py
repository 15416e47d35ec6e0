"""Write files atomically, open untrusted files safely, and compute checksums."""

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

MAX_PREFIX_LENGTH = 50  # of a file's name in the name of its temporary file, which can have at most 255 bytes
WEIGHTS = ".pdparams"  # the suffix of weight files
RUN_CONFIG = "config.yaml"  # the resolved configuration that training writes next to the weights
RUN_HISTORY = "history.jsonl"  # the metrics of each epoch
RUN_LOG = "train.log"
EXPORT_SETTINGS = "inference.yml"  # a file that is in every export folder, but not in the folder of a run
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".rar", ".7z")
EPOCH = re.compile(r"epoch_[0-9]+")  # the checkpoint of an epoch
SURROGATES = re.compile("[\ud800-\udfff]")  # not encodable in UTF-8; Python reads invalid bytes of file names as these

IS_PATH = "path"
PathText = Annotated[str, IS_PATH]
"""A path in a configuration; a leading `~` is expanded."""


def expand_user(path: str, *, fix: str = "") -> str:
    """Replace a leading `~` or `~USER` by the user's home folder; if the user has none, the path is not changed.

    Args:
        fix: if given, a missing home folder is an error that ends with it.

    Raises:
        ConfigError: see `fix`.
    """
    expanded = os.path.expanduser(path)
    if fix and expanded.startswith("~"):
        raise ConfigError(f"{path}: found no home folder (no such user, or HOME is not set); {fix}")
    return expanded


def weights_of_run(folder: Path, *, to_resume: bool = False) -> Path | None:
    """Return the best weights in a run's folder, or the latest ones, as a path without suffix; None if there are none.

    Args:
        to_resume: prefer the latest weights, from which the run can be resumed.
    """
    files = folder.glob(f"*{WEIGHTS}") if os.path.isdir(folder) else ()
    names = [file.name.removesuffix(WEIGHTS) for file in files if os.path.isfile(file)]
    epochs = sorted((name for name in names if EPOCH.fullmatch(name)), key=lambda name: -int(name.partition("_")[2]))
    order = ["latest", *epochs, "best_model"] if to_resume else ["best_model", "latest", *epochs]
    return next((folder / name for name in order if name in names), None)


ABSENT = "does not exist"


def describe_absence(path: str | Path) -> str:
    """Return why a path is neither a file nor a folder: `ABSENT`, or that it cannot be accessed, or is a device."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ABSENT
    except OSError as error:  # such as no permission for a folder on the path
        return f"cannot be accessed ({error.strerror})"
    return "is neither a file nor a folder"


def require_readable(folder: str | Path, what: str) -> None:
    """Check that the user may list a folder and open its files, since a folder without permission looks empty.

    Args:
        what: the name of the option or argument, for the error message.

    Raises:
        ConfigError: the user may not.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(
            f"{what}: cannot read the folder {str(folder)!r} (Permission denied): correct its permissions, or name"
            " another folder"
        )


def find_write_error(folder: str | Path) -> OSError | None:
    """Return the error that a new file in an existing folder would cause; None if the folder can be written."""
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    is_read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
    number = errno.EROFS if is_read_only else errno.EACCES
    return OSError(number, os.strerror(number), str(folder))


def weights_suggestion(path: Path, *, to_resume: bool = False) -> str:
    """Return '; did you mean X?' for missing weights `path`: a similar name in its folder, else the run's weights.

    The text is empty if there is no suggestion. Checkpoints `epoch_N` are never suggested as similar names, since all
    of their names are similar.
    """
    folder = path if os.path.isdir(path) else path.parent
    if not os.path.isdir(folder):
        return ""
    files = [file for file in folder.glob(f"*{WEIGHTS}") if os.path.isfile(file)]
    names = [file.name for file in files if not EPOCH.fullmatch(file.name.removesuffix(WEIGHTS))]
    typed = path.name.removesuffix(WEIGHTS)
    near = [name for name in sorted(names) if typed and name.startswith(typed)]  # "best" means best_model
    near = near or difflib.get_close_matches(typed + WEIGHTS, sorted(names), n=1, cutoff=0.8)
    found = folder / near[0].removesuffix(WEIGHTS) if near else weights_of_run(folder, to_resume=to_resume)
    return f"; did you mean {str(found)!r}?" if found else ""


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file in the folder of `path` with `write`, flush it to the disk, and rename it to `path`.

    An existing file stays unchanged until the rename. If writing fails, the temporary file is removed. The folder is
    not created: a run's folder that was deleted must not reappear with a single file.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; `filename` is `path`.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name[:MAX_PREFIX_LENGTH]}.", suffix=".tmp", dir=path.parent
        )
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                if hasattr(os, "fchmod"):  # by descriptor: the name could be replaced by a link
                    os.fchmod(file.fileno(), 0o666 & ~_umask())
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:  # its `filename` is the temporary file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except ValueError as error:
        if "\0" not in str(path):
            raise
        raise OSError(errno.EINVAL, "the name contains a NUL character", str(path)) from error


def is_url(name: object) -> bool:
    """Return whether `name` starts with a URL scheme."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(name)) is not None


def local_path(name: str | os.PathLike[str], what: str) -> Path:
    """Return `name` as a path.

    Args:
        what: the name of the option, for the error message.

    Raises:
        ConfigError: it is a URL, or contains a NUL character.
    """
    if is_url(name):
        raise ConfigError(f"{what}: expected a local path, got the URL {str(name)!r}")
    if "\0" in str(name):
        raise ConfigError(f"{what}: expected a path, got {str(name)!r}, which contains a NUL character")
    return Path(name)


def output_folder(name: str, what: str) -> Path:
    """Return `name`, in which `expand_user` has replaced `~`, as the path of a folder to write.

    Args:
        what: the name of the option, for the error message.

    Raises:
        ConfigError: it is a URL, or begins with `~USER` without a home folder.
    """
    if name.startswith("~"):
        raise ConfigError(
            f"{what}: found no home folder for {name!r} (no such user, or HOME is not set); write './{name}' for a"
            " folder of that name"
        )
    return local_path(name, what)


def require_path(value: object, what: str, expected: str = "a path (str or Path)") -> str:
    """Return a path that a caller gave, a `str` or a `Path`, as text.

    Args:
        what: the name of the argument, for the error message.
        expected: what it can be, for the error message.

    Raises:
        ConfigError: it is something else.
    """
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise ConfigError(f"{what}: expected {expected}, got {value!r:.60}")
    return path


def make_parent(path: str | os.PathLike[str]) -> None:
    """Create the parent folders of `path` that are missing.

    Raises:
        OSError: a folder cannot be created, or is a file.
    """
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
    except ValueError as error:
        raise OSError(errno.EINVAL, "the name contains a NUL character", str(folder)) from error


def open_without_links(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """Open a file without following a link at its path; an `opener` for `open`.

    Args:
        mode: permissions of a created file.

    Raises:
        OSError: the file is a link, a pipe or a device, or cannot be opened.
    """
    if os.path.islink(path):  # for a clear message; O_NOFOLLOW is the actual protection
        raise OSError(errno.ELOOP, f"{path} is a link, which is not followed; remove it")
    handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), mode)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, f"{path} is not a regular file; remove it")
    return handle


def read_plain_file(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file; see `open_plain_file`."""
    with open_plain_file(path) as file:
        return file.read()


def open_plain_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; pipes and devices, which can block or never end, are refused.

    Raises:
        OSError: it cannot be read, is not a regular file, or its name contains a NUL character.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:
        raise OSError(errno.EINVAL, "the name contains a NUL character", os.fspath(path)) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a directory raises the system's own error
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", os.fspath(path))
    return open(path, "rb")


def is_utf8(name: str) -> bool:
    """Return whether the bytes of a file's name are valid UTF-8, whatever the locale."""
    try:
        os.fsencode(name).decode()
    except UnicodeError:
        return False
    return True


def temporary_files(folder: Path) -> list[Path]:
    """Return the temporary files that an interrupted `write_atomically` left in a folder."""
    return [file for file in folder.glob(".*.tmp") if re.fullmatch(r"\..+\.[a-z0-9_]{8}\.tmp", file.name)]


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text with `write_atomically`; bytes of file names that are not UTF-8 become escapes."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file's content in hexadecimal; see `open_plain_file`."""
    digest = hashlib.sha256()
    with open_plain_file(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents; whatever the umask, only the user can write to them."""
    for path in [*reversed(folder.parents), folder]:
        if not path.is_dir():
            try:
                path.mkdir(mode=0o755)
            except FileExistsError:
                if not path.is_dir():  # otherwise another process created it first
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    with open(path, "r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename survives a power failure; does nothing on Windows."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
