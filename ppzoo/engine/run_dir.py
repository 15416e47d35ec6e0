"""The folder of a run: made when all else stands, never at the cost of an earlier run, and held by one run at a time.

Who writes into a folder holds the lock of its `.lock`, which the system drops when the process ends. POSIX record
locks are used because reader processes, which are forks, do not inherit them. Without `fcntl` nothing is locked.
Nothing is locked, created or removed in a folder that is only read.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ppzoo.errors import PpzooError
from ppzoo.files import open_without_links, temporary_files

logger = logging.getLogger("ppzoo")

LOCK = ".lock"
NOT_OF_RUN = {LOCK, "lost+found"}  # the latter is the file system's, in the root of a volume
_EARLIER = re.compile(r"earlier-[0-9]+\Z")

_held: dict[Path, BinaryIO] = {}  # the lock files of this process's runs, by folder


def open_run_dir(folder: Path, *, resume: bool) -> Path:
    """Make `folder`, or find it where a run is resumed, and hold it until `release` or the end of the process.

    An earlier run that is not resumed is moved beside it, or, where a folder cannot be renamed, into a folder in it.

    Raises:
        PpzooError: the folder cannot be made or written, or another run is writing into it.
    """
    for place in (folder, *folder.parents):
        if os.path.islink(place) and not os.path.exists(place):
            raise PpzooError(f"Global.output_dir: {place} is a link to {os.readlink(place)}, which does not exist")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _hold(folder)
        if not resume and _has_weights(folder):
            aside = _move_aside(folder)
            _hold(folder)
            logger.info("the earlier run in %s was moved to %s", folder, aside)
        for leftover in temporary_files(folder):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise PpzooError(
            f"Global.output_dir: expected a folder that can be written, got {folder} ({error.strerror})"
        ) from error
    return folder


def require_unlocked(folder: Path) -> None:
    """Report early that another run is writing into `folder`, which may not exist; nothing there is changed.

    Raises:
        PpzooError: another run is.
    """
    if folder.resolve() in _held:
        return
    with (
        suppress(OSError),
        open(folder / LOCK, "rb+", opener=open_without_links) as file,
    ):  # else `open_run_dir` reports it
        _lock(file, folder)


def _has_weights(folder: Path) -> bool:
    """Whether there are any that were announced."""
    return any(not file.name.endswith(".new.pdparams") for file in folder.glob("*.pdparams"))


def unlock(folder: Path) -> None:
    """Let other runs write into `folder`; nothing happens if it is not held."""
    file = _held.pop(folder.resolve(), None)
    if file is not None:
        with suppress(OSError):  # the lock goes with the open file in any case
            if _is_named(file, folder / LOCK):
                (folder / LOCK).unlink()
        file.close()


def _hold(folder: Path) -> None:
    """Lock the folder for this process, which may hold it already.

    Raises:
        PpzooError: another process holds it.
        OSError: the folder cannot be written.
    """
    key, path = folder.resolve(), folder / LOCK
    if key in _held:
        if _is_named(_held[key], path):
            return
        _held.pop(key).close()  # the folder was removed since
    while True:
        file = open(path, "ab", opener=open_without_links)  # noqa: SIM115
        try:
            if os.path.getsize(file.fileno()):
                raise OSError(errno.EEXIST, f"{path} is not a lock of ppzoo: remove it")
            _lock(file, folder)
        except BaseException:
            file.close()
            raise
        if _is_named(file, path):
            _held[key] = file
            return
        file.close()  # whoever held it has removed it, or the whole folder was moved


def _lock(file: BinaryIO, folder: Path) -> None:
    """Lock an open lock file for this process.

    Raises:
        PpzooError: another process has locked it.
    """
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise PpzooError(
                f"another run is writing into {folder}: wait for its end, or give another Global.output_dir"
            ) from error
        logger.info("%s cannot be locked (%s): start no second run into it", folder, error.strerror)


def _is_named(file: BinaryIO, path: Path) -> bool:
    """Whether `path` still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _move_aside(folder: Path) -> Path:
    """Move the earlier run out of the held `folder` and return the folder where it is now.

    A link stays where it is: the folder that it points to is renamed. What cannot be renamed (a mount point, or a
    folder in another user's folder) keeps its place, and its content is moved one level down.
    """
    key = folder.resolve()
    real = key if folder.is_symlink() else folder
    aside = _first_free(real.with_name(f"{real.name}.earlier-"))
    try:
        real.rename(aside)
    except OSError:  # EBUSY, EXDEV, EACCES, EROFS, ...; if the folder itself cannot be written, that is reported
        return _move_down(folder)
    (aside / LOCK).unlink()
    _held.pop(key).close()
    real.mkdir(exist_ok=True)
    return aside


def _move_down(folder: Path) -> Path:
    """Move the content of `folder` into a new folder in it and return that.

    Manifests go first and weights last: after a kill on the way nothing counts as a checkpoint any more, and the
    weights that are still there are moved aside by the next run.
    """
    order = {".manifest": 0, ".pdparams": 2}
    entries = [entry for entry in folder.iterdir() if entry.name not in NOT_OF_RUN and not _EARLIER.match(entry.name)]
    earlier = _first_free(folder / "earlier-")
    earlier.mkdir()
    for entry in sorted(entries, key=lambda entry: order.get(entry.suffix, 1)):
        shutil.move(entry, earlier / entry.name)  # copies what cannot be renamed, as a folder of a container's image
    return earlier


def _first_free(prefix: Path) -> Path:
    """The first path that does not exist of `prefix` followed by 1, 2, 3, ..."""
    paths = (prefix.with_name(f"{prefix.name}{number}") for number in itertools.count(1))
    return next(path for path in paths if not os.path.lexists(path))
