"""The figures of a training as VisualDL scalars: `visualdl --logdir OUTPUT_FOLDER` draws them.

VisualDL's own `LogWriter` opens the file for each figure, makes a folder anew that was removed, and prints that a disk
is full. Here its records go into a file that stays open.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from ppzoo.errors import TrainingError
from ppzoo.events import Callback, EpochReport, Figures, StepReport
from ppzoo.files import without_links


class Scalars(Callback):
    """Writes loss, metrics, learning rate and images/s, once a step and once an epoch.

    Args:
        folder: VisualDL's records go there.

    Raises:
        TrainingError: the folder cannot be made or written, or the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        # Slow to import, and not everyone asks for it.
        from visualdl.component.base_component import meta_data, scalar
        from visualdl.writer.record_writer import RecordWriter

        self.path = folder / f"vdlrecords.{int(time.time()):010}.log"  # a name that VisualDL looks for
        self._scalar, self._packer = scalar, RecordWriter
        try:
            folder.mkdir(exist_ok=True)
            self._file = open(self.path, "ab", buffering=0, opener=without_links)  # noqa: SIM115
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._write_records([meta_data(walltime=_milliseconds())])

    def on_step_end(self, report: StepReport) -> None:
        number = report.epoch * report.steps + report.step
        speed = report.images / report.seconds
        self._write("step", number, {**report.figures, "lr": report.learning_rate, "images_per_second": speed})

    def on_epoch_end(self, report: EpochReport) -> None:
        number = report.epoch + 1
        figures = {"lr": report.learning_rate, "images_per_second": report.images_per_second}
        self._write("epoch/train", number, {**report.train, **figures})
        if report.evaluation is not None:
            self._write("epoch/eval", number, report.evaluation)

    def _write(self, group: str, number: int, figures: Figures) -> None:
        now = _milliseconds()
        self._write_records(
            [self._scalar(f"{group}/{name}", value, number, walltime=now) for name, value in figures.items()]
        )

    def _write_records(self, records: list[Any]) -> None:
        packed = io.BytesIO()
        for record in records:
            self._packer(packed).write(record.SerializeToString())
        try:
            self._file.write(packed.getvalue())
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()


def _milliseconds() -> int:
    return round(time.time() * 1000)
