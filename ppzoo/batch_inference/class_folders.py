"""Copies of images, or links to them, in one folder per class.

The path of a copy follows from the path of its image and its class alone, so that sorting an image again, after an
interruption, makes no second copy.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import itertools
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

from ppzoo import locks
from ppzoo.errors import ConfigError, DataError, OutputError
from ppzoo.files import make_parent, open_plain_file, open_without_links

SortBy = Literal["copy", "link"]

UNFINISHED = ".ppzoo-unfinished-copy"  # the only temporary file; a kill leaves at most one, which is written again
LOCK = ".ppzoo-lock"  # locked by the process that uses the folder
COPIED_BYTES = 2**20  # at a time
MAX_NAME_BYTES = 100  # of a folder's name without its suffix
SUFFIX = re.compile(r"-[0-9a-f]{12}\Z")  # of names that were changed
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z")  # names of devices on Windows
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # Unicode categories of characters that cannot be seen


class ClassFolders:
    """Sorts images into `root/CLASS/PATH`, where PATH is the path of the image in its own folder.

    Existing files are never overwritten: if another file is at that path, a number is added to the name. Links below
    `root` are not followed. In a `with` statement no other process can sort into `root`.

    Args:
        by: "copy" copies the files, "link" creates symbolic links to them.
        names: the names of all classes, as far as they are known; names that a file system can treat as equal get
            different folders.
    """

    def __init__(self, root: Path, by: SortBy, names: Iterable[str] = ()) -> None:
        self.root, self.by = root, by
        counts = Counter(map(_comparable, set(names)))
        self._ambiguous = {name for name, count in counts.items() if count > 1}
        self._folders: dict[str, str] = {}

    def __enter__(self) -> ClassFolders:
        """Lock `root`.

        Raises:
            ConfigError: another process sorts into `root`.
            OutputError: `root` cannot be written.
        """
        try:
            make_parent(self.root / UNFINISHED)
            self._lock = locks.hold(self.root / LOCK, blocking=False)
        except BlockingIOError as error:
            raise ConfigError(f"--sort-into: another process sorts into {self.root}; wait for it, or end it") from error
        except OSError as error:
            raise OutputError(self.root, error, key="--sort-into") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release(remove=True)

    def folder_name(self, class_name: str) -> str:
        """Return the name of a class's folder: the name itself, or a valid one with a hash of the name."""
        name = self._folders.get(class_name)
        if name is None:
            valid = _valid_name(class_name)
            is_unique = valid == class_name and _comparable(class_name) not in self._ambiguous
            digest = hashlib.sha256(class_name.encode("utf-8", "surrogatepass")).hexdigest()
            name = self._folders[class_name] = valid if is_unique else f"{valid}-{digest[:12]}"
        return name

    def add(self, image: str, path: str, class_name: str) -> None:
        """Copy an image to, or link it in, the folder of its class; an identical copy or link counts as done.

        Args:
            image: path of the image file.
            path: path of the image file relative to the folder of all images.

        Raises:
            DataError: the image cannot be read.
            OutputError: the copy or the link cannot be written.
        """
        target = Path(self.root, self.folder_name(class_name), path)
        try:
            self._make_folders(target.parent)
            for candidate in _candidates(target):
                if not os.path.lexists(candidate):
                    self._create(image, candidate)
                    return
                if self._is_same(image, candidate):
                    return
        except OSError as error:
            raise OutputError(target, error, key="--sort-into") from error

    def _create(self, image: str, target: Path) -> None:
        if self.by == "link":
            os.symlink(os.path.abspath(image), target)
            return
        unfinished = self.root / UNFINISHED
        try:
            source = open_plain_file(image)
        except OSError as error:
            raise DataError(f"{image}: cannot read the image: {error.strerror}") from error
        with source:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
            with open(unfinished, "wb", opener=lambda path, _: open_without_links(path, flags)) as copy:
                while part := _read_part(source, image):
                    copy.write(part)
            times = os.fstat(source.fileno())
        os.utime(unfinished, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.rename(unfinished, target)

    def _is_same(self, image: str, target: Path) -> bool:
        """Return whether `target` is the copy of an image, or the link to it, that `_create` would create."""
        if self.by == "link":
            return os.path.islink(target) and os.readlink(target) == os.path.abspath(image)
        if not stat.S_ISREG(os.lstat(target).st_mode):
            return False
        try:
            return filecmp.cmp(image, target, shallow=False)
        except OSError as error:
            raise DataError(f"{image}: cannot read the image: {error.strerror}") from error

    def _make_folders(self, folder: Path) -> None:
        """Create a folder below `root` and its missing parents; none of them may be a link.

        Raises:
            OSError: one is a link or a file, or cannot be created.
        """
        make_parent(self.root / UNFINISHED)
        current = self.root
        for part in folder.relative_to(self.root).parts:
            current /= part
            try:
                current.mkdir()
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(current).st_mode):
                    raise NotADirectoryError(
                        errno.ENOTDIR, f"{current} is a link or a file, not a folder; remove it"
                    ) from None


def _read_part(source: BinaryIO, image: str) -> bytes:
    try:
        return source.read(COPIED_BYTES)
    except OSError as error:
        raise DataError(f"{image}: cannot read the image: {error.strerror}") from error


def _candidates(target: Path) -> Iterator[Path]:
    yield target
    for number in itertools.count(2):
        yield target.with_name(f"{target.stem}-{number}{target.suffix}")


def _comparable(name: str) -> str:
    """Return a name in a form that is equal for names that a file system can treat as equal."""
    return unicodedata.normalize("NFC", name).casefold()


def _valid_name(text: str) -> str:
    """Return the name of a folder that every system allows and shows; `text` itself if it is such a name."""
    if SUFFIX.search(text):  # else it could equal the changed name of another class
        text = text[:-1]
    visible = "".join("_" if unicodedata.category(character) in HIDDEN else character for character in text)
    name = re.sub(r'[/\\:*?"<>|]', "_", visible).strip(". ")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(". ")
    return f"_{name}" if not name or RESERVED.match(name) else name
