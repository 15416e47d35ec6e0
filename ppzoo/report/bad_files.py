"""The images that training left out because they could not be read: `bad_files.txt`, one line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ppzoo.errors import one_line
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.report.writing import write_lines

logger = logging.getLogger("ppzoo")


class BadFiles(Callback):
    """Writes the list anew after each epoch in which it grew, and at the very end, and says so.

    Where the run is saved within an epoch the list is written then too, for what it goes on from there comes later.

    Args:
        path: the file; not made while there are none. A resumed run adds to the list that it finds there.
        found: answers every file that was left out so far, and why.
        interval_steps: steps between two savings within an epoch; None for none.
    """

    def __init__(self, path: Path, found: Callable[[], Mapping[str, str]], interval_steps: int | None = None) -> None:
        self.path, self.found, self.interval_steps = path, found, interval_steps
        self.listed: dict[str, str] = {}

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
            self.listed = dict(_fields(line) for line in lines if line)

    def on_step_end(self, report: StepReport) -> None:
        if self.interval_steps and report.done % self.interval_steps == 0:
            self._write()

    def on_epoch_end(self, report: EpochReport) -> None:
        self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        known = len(self.listed)
        self.listed.update((_plain(name), _plain(reason)) for name, reason in self.found().items())
        count = len(self.listed)
        if count > known:
            text = "".join(f"{name}\t{reason}\n" for name, reason in sorted(self.listed.items()))
            write_lines(self.path, text)
            logger.warning("%d images could not be read and are left out; they are listed in %s", count, self.path)


def _plain(text: str) -> str:
    """What a line of the list can hold of a name."""
    return one_line(text).replace("\t", "\\t")


def _fields(line: str) -> tuple[str, str]:
    """Name and reason of a line."""
    name, _, reason = line.partition("\t")
    return name, reason
