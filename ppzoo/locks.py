"""Locks between processes, each held on an empty lock file.

The system releases a lock when its process ends, however it ends. On POSIX systems, this module calls `flock` itself.
The library `filelock` is used only where there is no `fcntl` (Windows), because some of its versions truncate the lock
file or follow links, and because forked children, such as the workers of the data loader, inherit its locks.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import BinaryIO, Protocol

from ppzoo.files import open_without_links

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("ppzoo")

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Lock(Protocol):
    """A lock that this process holds."""

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Return whether `path` still names the lock file, which can have been removed or moved."""

    def release(self, *, remove: bool = False) -> None:
        """Release the lock; with `remove`, also delete its file. A second call does nothing."""


def hold(path: str | os.PathLike[str], *, blocking: bool, create: bool = True, mode: int = 0o666) -> Lock:
    """Lock the file `path` for this process until `release` or the end of the process.

    Threads of one process exclude each other, too. On a file system without locks a message is logged and the returned
    lock excludes nobody.

    Args:
        blocking: wait while another process holds the lock.
        create: create the lock file if it does not exist.
        mode: permissions of a created file.

    Raises:
        BlockingIOError: another process holds the lock, and `blocking` is False.
        OSError: the lock file cannot be opened, or is a link, a device or a file with content.
    """
    if not create and not os.path.lexists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    if fcntl is None:
        return _PortableLock(path, blocking, mode)
    while True:
        lock = _PosixLock(path, blocking, create, mode)
        if lock.is_at(path):
            return lock
        lock.release()  # the file was removed or moved while this process waited for the lock


class _PosixLock:
    def __init__(self, path: str | os.PathLike[str], blocking: bool, create: bool, mode: int) -> None:
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        self._path = path
        self._file = os.fdopen(open_without_links(path, flags, mode), "rb+", buffering=0)
        _open_files.add(self._file)
        try:
            _require_empty(path, os.fstat(self._file.fileno()).st_size)
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BaseException as error:  # also Ctrl-C while waiting
            if isinstance(error, OSError) and error.errno in _UNSUPPORTED:
                logger.warning("%s cannot be locked (%s): run only one process that writes there", path, error.strerror)
                return
            self.release()
            raise

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.lstat(path))
        except FileNotFoundError:
            return False

    def release(self, *, remove: bool = False) -> None:
        if self._file.closed:
            return
        try:
            if remove and self.is_at(self._path):
                os.unlink(self._path)
        finally:
            _open_files.discard(self._file)
            self._file.close()


class _PortableLock:
    def __init__(self, path: str | os.PathLike[str], blocking: bool, mode: int) -> None:
        import filelock

        if os.path.lexists(path):
            os.close(open_without_links(path, os.O_RDONLY))
            _require_empty(path, os.path.getsize(path))
        self._lock = filelock.FileLock(path, mode=mode, thread_local=False)
        try:
            self._lock.acquire(timeout=-1 if blocking else 0)
        except filelock.Timeout as error:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fspath(path)) from error

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        return os.path.exists(path)  # an open file cannot be removed or moved on Windows

    def release(self, *, remove: bool = False) -> None:
        if not self._lock.is_locked:
            return
        self._lock.release()
        if remove and os.path.exists(self._lock.lock_file):
            os.unlink(self._lock.lock_file)


_open_files: set[BinaryIO] = set()


def _close_in_child() -> None:
    """Close the descriptors that a forked child inherited; the parent's locks stay, and end with the parent."""
    for file in _open_files:
        file.close()
    _open_files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _require_empty(path: str | os.PathLike[str], size: int) -> None:
    if size:
        raise OSError(errno.EEXIST, f"{os.fspath(path)} is not a lock file of ppzoo: remove it")
