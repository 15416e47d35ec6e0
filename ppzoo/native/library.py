"""The file of the compiled operators: whether it can be trusted, whether it is complete, and how it is published.

A library is code that runs with the user's permissions, and a truncated one can crash the process that opens it. It is
opened only if nobody except the user and root can have changed it, and if its SHA-256 is the one recorded next to it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ppzoo.files import sha256, sync_folder, write_text

MAX_LINKS = 40  # as many as Linux follows
OTHERS_CAN_WRITE = stat.S_IWGRP | stat.S_IWOTH


def digest_path(library: Path) -> Path:
    """Return the file with the SHA-256 of a library, in the format of `sha256sum`."""
    return library.with_name(f"{library.name}.sha256")


def is_intact(library: Path) -> bool:
    """Return whether a library exists and has the SHA-256 that was recorded when it was built."""
    try:
        recorded = digest_path(library).read_bytes().split()
        return bool(recorded) and recorded[0] == sha256(library).encode()
    except OSError:
        return False


def publish(built: Path, library: Path) -> None:
    """Move a library that was just built to its final path, flushed to the disk, and record its SHA-256.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    built.chmod(0o755)
    handle = os.open(built, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    recorded = digest_path(library)
    write_text(recorded, f"{sha256(built)}  {library.name}\n")
    recorded.chmod(0o644)
    os.replace(built, library)
    sync_folder(library.parent)


def find_trust_problem(library: Path) -> str | None:
    """Return why other users can have written a library or its SHA-256, or None if they cannot.

    All folders and links on the path to the files are checked.
    """
    seen: set[Path] = set()
    for file in (library, digest_path(library)):
        for path in _path_components(file):
            if path not in seen:
                seen.add(path)
                reason = _writable_by_others(path)
                if reason is not None:
                    return reason
    return None


def _path_components(file: Path) -> Iterator[Path]:
    """Yield all folders and links that the system resolves to reach a file, and the file."""
    pending = list(reversed((Path.cwd() / file).parts))
    current, links = Path(pending.pop()), 0
    yield current
    while pending:
        name = pending.pop()
        if name == "..":
            current = current.parent
            continue
        step = current / name
        yield step
        if os.path.islink(step) and links < MAX_LINKS:
            links += 1
            target = Path(os.readlink(step))
            pending += reversed(target.parts)
            if target.is_absolute():
                current = Path(pending.pop())
        else:
            current = step


def _writable_by_others(path: Path) -> str | None:
    try:
        status = path.lstat()
    except OSError:  # a path that does not exist has no owner
        return None
    # In a container's user namespace, root's folders can belong to the user who owns "/".
    if status.st_uid not in {os.geteuid(), 0, os.stat("/").st_uid}:
        return f"{path}: expected a file owned by you or root, got one owned by user {status.st_uid}; set PPZOO_HOME"
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & OTHERS_CAN_WRITE:
        return None
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None  # as in /tmp: users cannot replace files of others
    mode = stat.S_IMODE(status.st_mode)
    return f"{path}: expected a file that only you can write, got mode {mode:o}; run `chmod go-w`, or set PPZOO_HOME"
