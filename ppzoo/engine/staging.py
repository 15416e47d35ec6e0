"""Sets of files that are whole or not there, whatever is killed while they are written.

The files of `PREFIX` are first written as `PREFIX.new.*`, and then a manifest, which lists them with sizes and SHA-256:
from then on the new set counts, and moving the files to their names can be finished by whoever finds them. Before that
moment the old one does. Whoever finds them in the folder of a run that is alive leaves them alone.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ppzoo.engine.folder import claim
from ppzoo.errors import CheckpointError
from ppzoo.files import sha256, sync_folder, write_atomically

logger = logging.getLogger("ppzoo")

WEIGHTS, AVERAGE = ".pdparams", ".pdema"
CONTENT = (WEIGHTS, ".pdopt", ".pdstates")
MANIFEST = ".manifest"


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
        announce(target)


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as original:
            write_atomically(target, partial(shutil.copyfileobj, original))


def present(prefix: Path) -> list[str]:
    """The suffixes of the files of a checkpoint that is there."""
    return [*CONTENT, AVERAGE] if Path(f"{prefix}{AVERAGE}").exists() else list(CONTENT)


def finish(prefix: Path) -> None:
    """Finish or undo the saving of `prefix` if it was cut off.

    Raises:
        CheckpointError: what was to be finished is damaged; it stays as it is.
    """
    listed = _manifest(Path(f"{staged(prefix)}{MANIFEST}"))
    if listed is None:
        _discard_unfinished(prefix)
    else:
        _move_in_place(prefix, listed)


def finish_if_free(prefix: Path) -> None:
    """`finish`, unless nothing was cut off, or the files are another run's that is at work."""
    if any(_unfinished(prefix)):
        with claim(prefix.parent) as is_ours:
            if is_ours:
                finish(prefix)


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


def announce(prefix: Path) -> None:
    """The staged files are complete: from the manifest's writing on they are the checkpoint."""
    new = staged(prefix)
    listed = {}
    for suffix in present(new):
        path = f"{new}{suffix}"
        listed[suffix] = {"size": os.path.getsize(path), "sha256": sha256(path)}
    text = json.dumps(listed, indent=1).encode()
    write_atomically(f"{new}{MANIFEST}", lambda file: file.write(text))
    _move_in_place(prefix, listed)


def _move_in_place(prefix: Path, listed: Collection[str]) -> None:
    if AVERAGE not in listed:
        Path(f"{prefix}{AVERAGE}").unlink(missing_ok=True)  # of an older checkpoint of that name
    for suffix in (*listed, MANIFEST):
        if os.path.exists(f"{staged(prefix)}{suffix}"):
            os.replace(f"{staged(prefix)}{suffix}", f"{prefix}{suffix}")
            Path(f"{staged(prefix)}{suffix}").unlink(missing_ok=True)  # two links to one file are not replaced
    sync_folder(prefix.parent)


def _discard_unfinished(prefix: Path) -> None:
    for leftover in _unfinished(prefix):
        leftover.unlink()


def _unfinished(prefix: Path) -> list[Path]:
    """The staged files, and those that were still being written."""
    name = glob.escape(staged(prefix).name)
    return [*prefix.parent.glob(f"{name}.*"), *prefix.parent.glob(f".{name}.*.tmp")]


def _manifest(path: Path) -> dict[str, dict[str, Any]] | None:
    """What a manifest lists; None where there is none."""
    if not path.exists():
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        suffixes = [*CONTENT, AVERAGE] if AVERAGE in listed else CONTENT
        return {suffix: {"size": listed[suffix]["size"], "sha256": listed[suffix]["sha256"]} for suffix in suffixes}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is no manifest") from error
    except OSError as error:
        raise CheckpointError(f"{path}: expected a manifest, received: {error.strerror}") from error


def require_whole(prefix: Path) -> None:
    listed = _manifest(Path(f"{prefix}{MANIFEST}"))
    for suffix, expected in (listed or {}).items():
        path = f"{prefix}{suffix}"
        size = os.path.getsize(path) if os.path.exists(path) else None
        if size != expected["size"]:
            raise CheckpointError(f"{path} is damaged: expected {expected['size']} bytes, received {size or 'nothing'}")
        if sha256(path) != expected["sha256"]:
            raise CheckpointError(f"{path} is damaged: its content is not what was saved")
