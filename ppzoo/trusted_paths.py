"""Whether other users can have written the files of a cache: compiled libraries, decoded images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

MAX_LINKS = 40  # as many as Linux follows
OTHERS_CAN_WRITE = stat.S_IWGRP | stat.S_IWOTH


def find_untrusted_path(*paths: Path) -> str | None:
    """Return why other users can have written files or folders, or None if they cannot.

    All folders and links on the way to them are checked. On Windows nothing is checked.
    """
    seen: set[Path] = set()
    for path in paths if hasattr(os, "geteuid") else ():
        for component in _path_components(path):
            if component not in seen:
                seen.add(component)
                reason = _writable_by_others(component)
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
        return (
            f"{path}: expected a file or folder owned by you or root, got one owned by user {status.st_uid};"
            " set PPZOO_HOME to a folder that only you can write"
        )
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & OTHERS_CAN_WRITE:
        return None
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None  # as in /tmp: users cannot replace files of others
    mode = stat.S_IMODE(status.st_mode)
    return (
        f"{path}: expected a file or folder that only you can write, got mode {mode:o}; run `chmod go-w"
        f" {quote(str(path))}`, or set PPZOO_HOME to another folder"
    )
