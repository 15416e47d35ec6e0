"""The file of the compiled operators: who may have written it, whether it is complete, putting it in place.

A library is code that runs with the user's rights, and one that was cut off kills the process that opens it. So it is
opened only if nobody but the user and the system's administrator can have changed it, and if its SHA-256 is the one
recorded beside it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ppzoo.files import sha256, sync_folder, write_text

MOST_LINKS = 40  # as many as Linux follows
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def digest_file(library: Path) -> Path:
    """Where the SHA-256 of a library is recorded, in the format of `sha256sum`."""
    return library.with_name(f"{library.name}.sha256")


def is_intact(library: Path) -> bool:
    """Whether a library is there and is what was recorded when it was built."""
    try:
        recorded = digest_file(library).read_bytes().split()
        return bool(recorded) and recorded[0] == sha256(library).encode()
    except OSError:
        return False


def publish(built: Path, library: Path) -> None:
    """Move a library that was just built to its place, complete on the disk, and record its SHA-256.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    built.chmod(0o755)
    handle = os.open(built, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    recorded = digest_file(library)
    write_text(recorded, f"{sha256(built)}  {library.name}\n")
    recorded.chmod(0o644)
    os.replace(built, library)
    sync_folder(library.parent)


def untrusted(library: Path) -> str | None:
    """Why a library, its SHA-256 or a folder or link on the way to them may be another user's work; None if not."""
    seen: set[Path] = set()
    for file in (library, digest_file(library)):
        for path in _way(file):
            if path not in seen:
                seen.add(path)
                reason = _reason(path)
                if reason is not None:
                    return reason
    return None


def _way(file: Path) -> Iterator[Path]:
    """All folders and links that the system passes through to reach a file, and the file."""
    pending = list(reversed((Path.cwd() / file).parts))
    place, links = Path(pending.pop()), 0
    yield place
    while pending:
        name = pending.pop()
        if name == "..":
            place = place.parent
            continue
        step = place / name
        yield step
        if os.path.islink(step) and links < MOST_LINKS:
            links += 1
            target = Path(os.readlink(step))
            pending += reversed(target.parts)
            if target.is_absolute():
                place = Path(pending.pop())
        else:
            place = step


def _reason(path: Path) -> str | None:
    try:
        status = path.lstat()
    except OSError:  # what is not there is nobody's
        return None
    # In a container's user namespace the administrator's folders may belong to whoever owns "/".
    if status.st_uid not in {os.geteuid(), 0, os.stat("/").st_uid}:
        return f"{path}: expected it to belong to you or root, got one of user {status.st_uid}; set PPZOO_HOME"
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & OTHERS_MAY_WRITE:
        return None
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None  # as in /tmp, others cannot replace what is not theirs
    mode = stat.S_IMODE(status.st_mode)
    return f"{path}: expected that only you may write it, got mode {mode:o}; run `chmod go-w`, or set PPZOO_HOME"
