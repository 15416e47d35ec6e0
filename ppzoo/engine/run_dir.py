"""The output folder of a run. It never overwrites an earlier run, and only one run at a time can write to it.

A run holds the lock `.lock` in its folder (`ppzoo.locks`). Nothing is locked, created or removed in a folder that is
only read.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from ppzoo.errors import OutputError, PpzooError, exit_status_of
from ppzoo.files import WEIGHTS, temporary_files
from ppzoo.locks import Lock, hold

logger = logging.getLogger("ppzoo")

LOCK = ".lock"
NOT_OF_RUN = {LOCK, "lost+found"}  # the latter is in the root of a file system
_EARLIER_SUBFOLDER = re.compile(r"earlier-[0-9]+\Z")

_held: dict[Path, Lock] = {}  # by folder


def open_run_dir(folder: Path, *, resume: bool) -> Path:
    """Create `folder`, or open it where a run is resumed, and lock it until `unlock` or the end of the process.

    An earlier run that is not resumed is moved to a sibling folder, or into a subfolder where renaming fails.

    Raises:
        PpzooError: another run is writing into the folder, or the path cannot be a folder.
        OutputError: the system cannot create the folder or write into it.
    """
    for path in (folder, *folder.parents):
        if os.path.islink(path) and not os.path.exists(path):
            raise PpzooError(
                f"Global.output_dir: {path} is a link to {os.readlink(path)}, which does not exist; create that folder,"
                " or set another Global.output_dir"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _lock(folder)
        if not resume and _has_weights(folder):
            earlier = _move_aside(folder)
            _lock(folder)
            logger.info("moved the earlier run in %s to %s", folder, earlier)
        for leftover in temporary_files(folder):
            leftover.unlink(missing_ok=True)
    except OSError as error:
        if exit_status_of(error) != PpzooError.exit_status:  # a failure of the system, such as a full disk
            raise OutputError(folder, error) from error
        raise PpzooError(
            f"Global.output_dir: expected a folder that can be written, got {folder} ({error.strerror})"
        ) from error
    return folder


def require_unlocked(folder: Path) -> None:
    """Check that no other run is writing into `folder`, without changing anything; the folder need not exist.

    Raises:
        PpzooError: another run is writing into it.
    """
    if folder.resolve() in _held:
        return
    try:
        hold(folder / LOCK, blocking=False, create=False).release()
    except BlockingIOError as error:
        raise _locked_error(folder) from error
    except OSError:
        pass  # no lock file; other errors are reported by `open_run_dir`


def unlock(folder: Path) -> None:
    """Let other runs write into `folder`; nothing happens if it is not locked."""
    lock = _held.pop(folder.resolve(), None)
    if lock is not None:
        with suppress(OSError):  # if the file cannot be removed, the lock is released nevertheless
            lock.release(remove=True)


def _has_weights(folder: Path) -> bool:
    """Return whether the folder has weights that were saved completely."""
    return any(not file.name.endswith(f".new{WEIGHTS}") for file in folder.glob(f"*{WEIGHTS}"))


def _lock(folder: Path) -> None:
    """Lock the folder for this process, which can hold the lock already.

    Raises:
        PpzooError: another process holds the lock.
        OSError: the folder cannot be written.
    """
    key, path = folder.resolve(), folder / LOCK
    if key in _held:
        if _held[key].is_at(path):
            return
        _held.pop(key).release()  # the folder was removed in the meantime
    try:
        _held[key] = hold(path, blocking=False)
    except BlockingIOError as error:
        raise _locked_error(folder) from error


def _locked_error(folder: Path) -> PpzooError:
    return PpzooError(f"another run is writing into {folder}: wait until it ends, or set another Global.output_dir")


def _move_aside(folder: Path) -> Path:
    """Move the earlier run out of the locked `folder` and return its new path.

    A link stays where it is: its target is renamed. The content of a folder that cannot be renamed (a mount point, or a
    folder whose parent cannot be written) is moved into a subfolder.
    """
    key = folder.resolve()
    real = key if folder.is_symlink() else folder
    earlier = _first_free(real.with_name(f"{real.name}.earlier-"))
    try:
        real.rename(earlier)
    except OSError:  # EBUSY, EXDEV, EACCES, EROFS, ...; a folder that cannot be written fails in `_move_down`, too
        return _move_down(folder)
    (earlier / LOCK).unlink()
    _held.pop(key).release()
    real.mkdir(exist_ok=True)
    return earlier


def _move_down(folder: Path) -> Path:
    """Move the content of `folder` into a new subfolder and return its path.

    Manifests are moved first and weights last: if this is interrupted, nothing counts as a checkpoint any more, and the
    next run moves the remaining weights.
    """
    order = {".manifest": 0, WEIGHTS: 2}
    entries = [
        entry for entry in folder.iterdir() if entry.name not in NOT_OF_RUN and not _EARLIER_SUBFOLDER.match(entry.name)
    ]
    earlier = _first_free(folder / "earlier-")
    earlier.mkdir()
    for entry in sorted(entries, key=lambda entry: order.get(entry.suffix, 1)):
        shutil.move(entry, earlier / entry.name)  # copies what cannot be renamed, such as a container image's folder
    return earlier


def _first_free(prefix: Path) -> Path:
    """Return the first path that does not exist of `prefix` followed by 1, 2, 3, ..."""
    paths = (prefix.with_name(f"{prefix.name}{number}") for number in itertools.count(1))
    return next(path for path in paths if not os.path.lexists(path))
