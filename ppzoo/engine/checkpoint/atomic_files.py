"""Sets of files that are replaced atomically: after a kill at any moment either the old or the new set is complete.

The files of `PREFIX` are first written as `PREFIX.new.*` (staged), followed by a manifest of their sizes and SHA-256.
The staged manifest commits the new set: before it exists, the old set is valid; afterwards the new set is. If a run is
killed while it renames the files, the next run in the folder completes the renaming. `SavedFiles` reads the valid set
without moving or removing anything.

Paths of files are built as strings: pathlib interns every part of every path, and the names `epoch_N` of a long run
would stay in memory.
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
from ppzoo.files import WEIGHTS, read_plain_file, sha256, sync_folder, write_atomically

logger = logging.getLogger("ppzoo")

EMA_WEIGHTS = ".pdema"
REQUIRED_SUFFIXES = (WEIGHTS, ".pdopt", ".pdstates")
MANIFEST = ".manifest"
ManifestEntry = dict[str, Any]
"""Size and SHA-256 of a file."""


class NotSavedError(CheckpointError):
    """A checkpoint that could not be written: a failure of the run, not a mistake in its configuration."""

    exit_status = 1


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy the checkpoint `source` to `target`, by hard links where the file system has them.

    Raises:
        CheckpointError: a file cannot be written, for example because the disk is full or the folder does not exist;
            the previous `target` stays complete. Or the manifest of `source` is damaged.
    """
    with report_write_errors(target):
        prepare_staging(target)
        for suffix in existing_suffixes(source):
            link_or_copy(f"{source}{suffix}", f"{staged_prefix(target)}{suffix}")
        commit(target, read_manifest(source))


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as original:
            write_atomically(target, partial(shutil.copyfileobj, original))


def remove_if_exists(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def existing_suffixes(prefix: Path) -> list[str]:
    """Return the suffixes of the files of a checkpoint except its manifest, with `.pdema` if that file exists."""
    return [*REQUIRED_SUFFIXES, EMA_WEIGHTS] if os.path.exists(f"{prefix}{EMA_WEIGHTS}") else list(REQUIRED_SUFFIXES)


def recover(prefix: Path) -> None:
    """Complete an interrupted save of `prefix` that was committed, or discard one that was not.

    Raises:
        CheckpointError: the staged manifest is damaged; nothing is changed.
    """
    entries = _read_manifest_file(f"{staged_prefix(prefix)}{MANIFEST}")
    if entries is None:
        _discard_staged(prefix)
    else:
        _move_in_place(prefix, entries)


def recover_all(folder: Path) -> None:
    """Recover all checkpoints in the folder of this run; damaged ones are logged and left unchanged."""
    for prefix in list_prefixes(folder):
        try:
            recover(prefix)
        except CheckpointError as error:
            logger.warning("%s; skipped", error)


@contextmanager
def report_write_errors(prefix: Path) -> Iterator[None]:
    """Turn an `OSError` while `prefix` is written into a `NotSavedError`."""
    try:
        yield
    except OSError as error:
        if not prefix.parent.is_dir():
            raise NotSavedError(f"cannot write {prefix}: the folder of the run does not exist any more") from error
        reason = error.strerror or error
        raise NotSavedError(f"cannot write {prefix}: {reason}; existing checkpoints stay complete") from error


def prepare_staging(prefix: Path) -> None:
    """Remove or complete older staged files, so that new ones can be written; damaged ones are logged and replaced."""
    try:
        recover(prefix)
    except CheckpointError as error:
        logger.warning("%s; it is replaced", error)
        _discard_staged(prefix)


def list_prefixes(folder: Path) -> Iterator[Path]:
    """Return the prefixes of all checkpoints in a folder, including those whose renaming was interrupted."""
    names = {file.name.removesuffix(MANIFEST).removesuffix(".new") for file in folder.glob(f"*{MANIFEST}")}
    return (folder / name for name in sorted(names))


def staged_prefix(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.new")


def commit(prefix: Path, known: Mapping[str, ManifestEntry] = MappingProxyType({})) -> None:
    """Replace the checkpoint `prefix` by its staged files, which have to be complete.

    Args:
        known: manifest entries of files that need not be read again, by suffix.
    """
    staged = staged_prefix(prefix)
    entries = {suffix: known.get(suffix) or _describe_file(f"{staged}{suffix}") for suffix in existing_suffixes(staged)}
    text = json.dumps(entries, indent=1).encode()
    write_atomically(f"{staged}{MANIFEST}", lambda file: file.write(text))
    _move_in_place(prefix, entries)


def read_manifest(prefix: Path) -> dict[str, ManifestEntry]:
    """Return the manifest of `prefix`, by suffix; empty if there is none.

    Raises:
        CheckpointError: the manifest is damaged.
    """
    return _read_manifest_file(f"{prefix}{MANIFEST}") or {}


def read_manifest_if_complete(prefix: Path) -> dict[str, ManifestEntry]:
    """Return the manifest of a checkpoint; empty if the checkpoint does not exist or is damaged."""
    try:
        files = SavedFiles(prefix)
        files.require_complete()
        return files.entries
    except CheckpointError:
        return {}


def _describe_file(path: str) -> ManifestEntry:
    return {"size": os.path.getsize(path), "sha256": sha256(path)}


def _move_in_place(prefix: Path, suffixes: Collection[str]) -> None:
    """Rename the staged files that have not been renamed yet."""
    if EMA_WEIGHTS not in suffixes:
        remove_if_exists(f"{prefix}{EMA_WEIGHTS}")  # of the previous checkpoint
    for suffix in (*suffixes, MANIFEST):
        if os.path.exists(f"{staged_prefix(prefix)}{suffix}"):
            os.replace(f"{staged_prefix(prefix)}{suffix}", f"{prefix}{suffix}")
            # `os.replace` does nothing if both names are links to the same file.
            remove_if_exists(f"{staged_prefix(prefix)}{suffix}")
    sync_folder(prefix.parent)


def _discard_staged(prefix: Path) -> None:
    for leftover in _staged_files(prefix):
        leftover.unlink()


def _staged_files(prefix: Path) -> list[Path]:
    """Return the staged files and those that were still being written."""
    name = staged_prefix(prefix).name
    return [  # a single pattern for all prefixes, because Python caches compiled patterns
        file
        for file in prefix.parent.glob("*.new.*")
        if file.name.startswith(f"{name}.") or (file.name.startswith(f".{name}.") and file.suffix == ".tmp")
    ]


def _read_manifest_file(path: str) -> dict[str, ManifestEntry] | None:
    """Return the entries of a manifest; None if it does not exist."""
    if not os.path.exists(path):
        return None
    try:
        entries = json.loads(read_plain_file(path))
        suffixes = [*REQUIRED_SUFFIXES, EMA_WEIGHTS] if EMA_WEIGHTS in entries else REQUIRED_SUFFIXES
        return {suffix: {"size": entries[suffix]["size"], "sha256": entries[suffix]["sha256"]} for suffix in suffixes}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is not a manifest") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


class SavedFiles:
    """The valid files of a checkpoint, some of which an interrupted save can have left staged.

    Attributes:
        entries: the manifest, by suffix; empty if there is none.

    Raises:
        CheckpointError: the manifest is damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        staged = _read_staged_manifest(prefix)
        self._is_staged = staged is not None
        self.entries = staged or read_manifest(prefix)

    def path(self, suffix: str) -> str:
        """Return the path of the file with that suffix, which need not exist."""
        staged = f"{staged_prefix(self.prefix)}{suffix}"
        return staged if self._is_staged and os.path.exists(staged) else f"{self.prefix}{suffix}"

    def has(self, suffix: str) -> bool:
        """Return whether the checkpoint has a file with that suffix."""
        return os.path.isfile(self.path(suffix)) and (suffix in self.entries or not self.entries)

    def require_complete(self, *, verify_content: bool = True) -> None:
        """Compare the files with the manifest; without a manifest, nothing is checked.

        Args:
            verify_content: compare the SHA-256 of each file, not only its size.

        Raises:
            CheckpointError: a file is missing or differs.
        """
        for suffix, expected in self.entries.items():
            path = self.path(suffix)
            size = os.path.getsize(path) if os.path.exists(path) else None
            if size is None:
                raise CheckpointError(f"{path} is missing: expected {expected['size']} bytes")
            if size != expected["size"]:
                raise CheckpointError(f"{path} is damaged: expected {expected['size']} bytes, got {size}")
            if verify_content and sha256(path) != expected["sha256"]:
                raise CheckpointError(f"{path} is damaged: its SHA-256 differs from the manifest's")


def require_undamaged(file: Path) -> None:
    """Compare one file of a checkpoint with the manifest next to it; other files are not checked.

    Raises:
        CheckpointError: the file differs from what was saved, or the manifest is damaged.
    """
    prefix, suffix = file.with_suffix(""), file.suffix
    # While an interrupted save waits for its completion, the file can belong to the old or to the new checkpoint.
    manifests = (read_manifest(prefix), _read_staged_manifest(prefix) or {})
    expected = [entries[suffix] for entries in manifests if suffix in entries]
    if expected and _describe_file(str(file)) not in expected:
        raise CheckpointError(
            f"{file} is damaged: its SHA-256 differs from the one in {prefix}{MANIFEST}; use another checkpoint of the"
            f" run, or delete {prefix}{MANIFEST} if you replaced the file"
        )


def _read_staged_manifest(prefix: Path) -> dict[str, ManifestEntry] | None:
    """Return the staged manifest; None if there is none, or if it is damaged and there is an older manifest."""
    try:
        return _read_manifest_file(f"{staged_prefix(prefix)}{MANIFEST}")
    except CheckpointError as error:
        if not os.path.exists(f"{prefix}{MANIFEST}"):
            raise
        logger.warning("%s; the previous checkpoint is used", error)
        return None
