"""The images that training left out because they could not be read: `bad_files.txt`, one line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ppzoo.events import Callback, EpochReport
from ppzoo.files import write_atomically

logger = logging.getLogger("ppzoo")


class BadFiles(Callback):
    """Writes the list anew after each epoch in which it grew, and says so.

    Args:
        path: the file; not made while there are none.
        found: answers every file that was left out so far, and why.
    """

    def __init__(self, path: Path, found: Callable[[], Mapping[str, str]]) -> None:
        self.path, self.found, self.known = path, found, 0

    def on_epoch_end(self, report: EpochReport) -> None:
        bad = self.found()
        if len(bad) > self.known:
            self.known = len(bad)
            text = "".join(f"{name}\t{reason}\n" for name, reason in bad.items())
            write_atomically(self.path, lambda file: file.write(text.encode()))
            logger.warning("%d images could not be read and are left out; they are listed in %s", len(bad), self.path)
