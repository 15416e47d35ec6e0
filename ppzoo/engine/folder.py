"""The folder of a run: made when everything else stands, and never at the cost of an earlier run."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

from ppzoo.errors import PpzooError

logger = logging.getLogger("ppzoo")


def open_folder(folder: Path, *, resume: bool) -> Path:
    """Make `folder`, or find it where a run is resumed; earlier weights that are not resumed are moved beside it.

    Raises:
        PpzooError: the folder cannot be made or written.
    """
    try:
        if not resume and folder.is_dir() and any(folder.glob("*.pdparams")):
            aside = next(place for n in itertools.count(1) if not (place := _beside(folder, n)).exists())
            folder.rename(aside)
            logger.info("the earlier run in %s was moved to %s", folder, aside)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PpzooError(
            f"Global.output_dir: expected a folder that can be written, received {folder} ({error.strerror})"
        ) from error
    return folder


def _beside(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.earlier-{number}")
