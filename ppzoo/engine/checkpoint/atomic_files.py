"""Sets of files that are whole or not there, whatever is killed while they are written.

The files of `PREFIX` are first written as `PREFIX.new.*`, and then a manifest, which lists them with sizes and SHA-256:
from then on the new set counts, and moving the files to their names can be finished by the next run in the folder.
Before that moment the old one does. Who only reads a checkpoint (`SavedFiles`) reads the set that counts, and moves and
removes nothing.

Names of files are plain text here: pathlib enters each part of each path in a table of Python's, which the `epoch_N` of
a long run would make grow.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ppzoo.errors import CheckpointError
from ppzoo.files import sha256, sync_folder, write_atomically

logger = logging.getLogger("ppzoo")

WEIGHTS, AVERAGE = ".pdparams", ".pdema"
CONTENT = (WEIGHTS, ".pdopt", ".pdstates")
MANIFEST = ".manifest"
Entry = dict[str, Any]
"""Size and SHA-256 of a file."""


class NotSavedError(CheckpointError):
    """A checkpoint that could not be written: the run failed, through no fault of its description."""

    exit_status = 1


def copy(source: Path, target: Path) -> None:
    """Make the checkpoint `target` of `source`, without a second copy on disk where the file system can.

    Raises:
        CheckpointError: the disk is full or the folder gone; on a full disk the older checkpoint stays.
    """
    with saving(target):
        clear_stage(target)
        for suffix in present(source):
            link(f"{source}{suffix}", f"{staged(target)}{suffix}")
        announce(target, listing(source))


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as original:
            write_atomically(target, partial(shutil.copyfileobj, original))


def remove(path: str) -> None:
    """Remove a file, which need not be there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def present(prefix: Path) -> list[str]:
    """The suffixes of the files of a checkpoint that is there."""
    return [*CONTENT, AVERAGE] if os.path.exists(f"{prefix}{AVERAGE}") else list(CONTENT)


def finish(prefix: Path) -> None:
    """Finish or undo the saving of `prefix` if it was cut off.

    Raises:
        CheckpointError: what was to be finished is damaged; it stays as it is.
    """
    listed = _manifest(f"{staged(prefix)}{MANIFEST}")
    if listed is None:
        _discard_unfinished(prefix)
    else:
        _move_in_place(prefix, listed)


def finish_all(folder: Path) -> None:
    """`finish` for all checkpoints in the folder of this run; one that is damaged is reported and stays as it is."""
    for prefix in prefixes(folder):
        try:
            finish(prefix)
        except CheckpointError as error:
            logger.warning("%s; skipped", error)


@contextmanager
def saving(prefix: Path) -> Iterator[None]:
    """What goes wrong with the files of `prefix`, in one line."""
    try:
        yield
    except OSError as error:
        if not prefix.parent.is_dir():
            raise NotSavedError(f"{prefix}: cannot be written: the folder of the run is gone") from error
        why = error.strerror or error
        raise NotSavedError(f"{prefix}: cannot be written ({why}); the checkpoint before it is whole") from error


def clear_stage(prefix: Path) -> None:
    """Make room for new staged files; of older ones that are damaged nothing can be made."""
    try:
        finish(prefix)
    except CheckpointError as error:
        logger.warning("%s; it is replaced", error)
        _discard_unfinished(prefix)


def prefixes(folder: Path) -> Iterator[Path]:
    """Of all checkpoints in a folder, those being announced included."""
    names = {file.name.removesuffix(MANIFEST).removesuffix(".new") for file in folder.glob(f"*{MANIFEST}")}
    return (folder / name for name in sorted(names))


def staged(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.new")


def announce(prefix: Path, known: Mapping[str, Entry] = MappingProxyType({})) -> None:
    """The staged files are complete: from the manifest's writing on they are the checkpoint.

    Args:
        known: what is known of the files of these suffixes, which need not be read then.
    """
    new = staged(prefix)
    listed = {suffix: known.get(suffix) or _entry(f"{new}{suffix}") for suffix in present(new)}
    text = json.dumps(listed, indent=1).encode()
    write_atomically(f"{new}{MANIFEST}", lambda file: file.write(text))
    _move_in_place(prefix, listed)


def listing(prefix: Path) -> dict[str, Entry]:
    """What the manifest of `prefix` says of its files; nothing where there is none.

    Raises:
        CheckpointError: the manifest is damaged.
    """
    return _manifest(f"{prefix}{MANIFEST}") or {}


def listing_if_whole(prefix: Path) -> dict[str, Entry]:
    """What the manifest of a checkpoint says, where it is there and undamaged, else nothing."""
    try:
        files = SavedFiles(prefix)
        files.require_complete()
        return files.listed
    except CheckpointError:
        return {}


def _entry(path: str) -> Entry:
    return {"size": os.path.getsize(path), "sha256": sha256(path)}


def _move_in_place(prefix: Path, listed: Collection[str]) -> None:
    if AVERAGE not in listed:
        remove(f"{prefix}{AVERAGE}")  # of an older checkpoint of that name
    for suffix in (*listed, MANIFEST):
        if os.path.exists(f"{staged(prefix)}{suffix}"):
            os.replace(f"{staged(prefix)}{suffix}", f"{prefix}{suffix}")
            remove(f"{staged(prefix)}{suffix}")  # two links to one file are not replaced
    sync_folder(prefix.parent)


def _discard_unfinished(prefix: Path) -> None:
    for leftover in _unfinished(prefix):
        leftover.unlink()


def _unfinished(prefix: Path) -> list[Path]:
    """The staged files, and those that were still being written."""
    name = staged(prefix).name
    return [  # by one pattern, for Python keeps those that it has met
        file
        for file in prefix.parent.glob("*.new.*")
        if file.name.startswith(f"{name}.") or (file.name.startswith(f".{name}.") and file.suffix == ".tmp")
    ]


def _manifest(path: str) -> dict[str, Entry] | None:
    """What a manifest lists; None where there is none."""
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            listed = json.load(file)
        suffixes = [*CONTENT, AVERAGE] if AVERAGE in listed else CONTENT
        return {suffix: {"size": listed[suffix]["size"], "sha256": listed[suffix]["sha256"]} for suffix in suffixes}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is no manifest") from error
    except OSError as error:
        raise CheckpointError(f"{path}: expected a manifest, got: {error.strerror}") from error


class SavedFiles:
    """The files of a checkpoint, wherever a save that was interrupted has left them.

    Attributes:
        listed: what the manifest says about each file, by suffix; empty where there is none.

    Raises:
        CheckpointError: the manifest is damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        announced = _announced(prefix)
        self._is_announced = announced is not None
        self.listed = announced or listing(prefix)

    def path(self, suffix: str) -> str:
        """The file of that suffix, which need not exist."""
        new = f"{staged(self.prefix)}{suffix}"
        return new if self._is_announced and os.path.exists(new) else f"{self.prefix}{suffix}"

    def has(self, suffix: str) -> bool:
        """Whether the checkpoint has a file of that suffix."""
        return os.path.isfile(self.path(suffix)) and (suffix in self.listed or not self.listed)

    def require_complete(self) -> None:
        """
        Raises:
            CheckpointError: a file is not what the manifest says.
        """
        for suffix, expected in self.listed.items():
            path = self.path(suffix)
            size = os.path.getsize(path) if os.path.exists(path) else None
            if size != expected["size"]:
                raise CheckpointError(f"{path} is damaged: expected {expected['size']} bytes, got {size or 'nothing'}")
            if sha256(path) != expected["sha256"]:
                raise CheckpointError(f"{path} is damaged: its content is not what was saved")


def _announced(prefix: Path) -> dict[str, Entry] | None:
    """What the manifest of a complete new set lists; None where there is none, or a damaged one beside a sound one."""
    try:
        return _manifest(f"{staged(prefix)}{MANIFEST}")
    except CheckpointError as error:
        if not os.path.exists(f"{prefix}{MANIFEST}"):
            raise
        logger.warning("%s; the checkpoint before it is used", error)
        return None
