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
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ppzoo.errors import PpzooError
from ppzoo.files import leftovers, without_links

logger = logging.getLogger("ppzoo")

LOCK = ".lock"

_held: dict[Path, BinaryIO] = {}  # the lock files of this process's runs, by folder


def open_folder(folder: Path, *, resume: bool) -> Path:
    """Make `folder`, or find it where a run is resumed, and hold it until `release` or the end of the process.

    Earlier weights that are not resumed are moved beside it.

    Raises:
        PpzooError: the folder cannot be made or written, or another run is writing into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _hold(folder)
        if not resume and _has_weights(folder):
            aside = next(place for n in itertools.count(1) if not (place := _beside(folder, n)).exists())
            key = folder.resolve()
            folder.rename(aside)
            (aside / LOCK).unlink()
            _held.pop(key).close()
            folder.mkdir(exist_ok=True)
            _hold(folder)
            logger.info("the earlier run in %s was moved to %s", folder, aside)
        for leftover in leftovers(folder):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise PpzooError(
            f"Global.output_dir: expected a folder that can be written, received {folder} ({error.strerror})"
        ) from error
    return folder


def refuse_if_held(folder: Path) -> None:
    """Report early that another run is writing into `folder`, which may not exist; nothing there is changed.

    Raises:
        PpzooError: another run is.
    """
    if folder.resolve() in _held:
        return
    with suppress(OSError), open(folder / LOCK, "rb+", opener=without_links) as file:  # else `open_folder` reports it
        _lock(file, folder)


def _has_weights(folder: Path) -> bool:
    """Whether there are any that were announced."""
    return any(not file.name.endswith(".new.pdparams") for file in folder.glob("*.pdparams"))


def release(folder: Path) -> None:
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
        file = open(path, "ab", opener=without_links)  # noqa: SIM115
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


def _beside(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.earlier-{number}")
