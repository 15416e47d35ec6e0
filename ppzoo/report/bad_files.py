"""The images that training left out because they could not be read: `bad_files.txt`, one line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ppzoo.events import Callback, EpochReport
from ppzoo.report.writing import write_report

logger = logging.getLogger("ppzoo")


class BadFiles(Callback):
    """Writes the list anew after each epoch in which it grew, and at the very end, and says so.

    Args:
        path: the file; not made while there are none. A resumed run adds to the list that it finds there.
        found: answers every file that was left out so far, and why.
    """

    def __init__(self, path: Path, found: Callable[[], Mapping[str, str]]) -> None:
        self.path, self.found = path, found
        self.listed: dict[str, str] = {}

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
            self.listed = dict(_fields(line) for line in lines if line)

    def on_epoch_end(self, report: EpochReport) -> None:
        self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        known = len(self.listed)
        self.listed.update(self.found())
        count = len(self.listed)
        if count > known:
            text = "".join(f"{name}\t{reason}\n" for name, reason in sorted(self.listed.items()))
            write_report(self.path, lambda file: file.write(text.encode()))
            logger.warning("%d images could not be read and are left out; they are listed in %s", count, self.path)


def _fields(line: str) -> tuple[str, str]:
    """Name and reason of a line."""
    name, _, reason = line.partition("\t")
    return name, reason
