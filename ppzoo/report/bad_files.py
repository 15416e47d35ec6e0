"""`bad_files.txt`: the images that training skipped because they could not be read, one per line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ppzoo.errors import count_text, one_line
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.files import read_plain_file
from ppzoo.report.writing import write_lines

logger = logging.getLogger("ppzoo")


class BadFiles(Callback):
    """Rewrites the list after each epoch in which it grew and at the end of the run, and logs how long it is.

    The list is also written whenever a checkpoint is saved within an epoch, since a run that resumes from the
    checkpoint does not find the earlier images again.

    Args:
        path: the file, which is not created without unreadable images. A resumed run adds to its content.
        found: returns every file that was skipped so far, and why.
        interval_steps: steps between two checkpoints within an epoch; None for none.
    """

    def __init__(self, path: Path, found: Callable[[], Mapping[str, str]], interval_steps: int | None = None) -> None:
        self.path, self.found, self.interval_steps = path, found, interval_steps
        self.listed: dict[str, str] = {}

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        if self.path.exists():
            lines = read_plain_file(self.path).decode(errors="surrogateescape").split("\n")
            self.listed = dict(_parse_line(line) for line in lines if line)

    def on_step_end(self, report: StepReport) -> None:
        if self.interval_steps and report.done % self.interval_steps == 0:
            self._write()

    def on_epoch_end(self, report: EpochReport) -> None:
        self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        known = len(self.listed)
        self.listed.update((_escape(name), _escape(reason)) for name, reason in self.found().items())
        count = len(self.listed)
        if count > known:
            text = "".join(f"{name}\t{reason}\n" for name, reason in sorted(self.listed.items()))
            write_lines(self.path, text)
            logger.warning("skipped %s that could not be read; see %s", count_text(count, "image"), self.path)


def _escape(text: str) -> str:
    """Return the text without line ends and tabs."""
    return one_line(text).replace("\t", "\\t")


def _parse_line(line: str) -> tuple[str, str]:
    """Return name and reason of a line."""
    name, _, reason = line.partition("\t")
    return name, reason
