"""The figures of a training as VisualDL scalars: `visualdl --logdir OUTPUT_FOLDER` draws them.

VisualDL's own `LogWriter` opens the file for each figure, makes a folder anew that was removed, and prints that a disk
is full. Here its records go into a file that stays open. Of several files in a folder VisualDL reads the one with the
last name, so that a resumed run continues the file that is there.
"""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppzoo.errors import TrainingError
from ppzoo.events import Callback, EpochReport, Metrics, StepReport
from ppzoo.files import open_without_links, temporary_files, write_atomically

STEP, EPOCH = "step/", "epoch/"  # what the tags begin with; steps are numbered from 0, epochs from 1
META = "meta_data_tag"  # VisualDL's, of the first record of a file
CONTINUED = "continued"  # a name that VisualDL does not take for one of its files
HEADER = struct.Struct("<Q")


class Scalars(Callback):
    """Writes loss, metrics, learning rate and images/s, once a step and once an epoch.

    Args:
        folder: VisualDL's records go there.
        epochs, steps: how many of the run are done. Their records in `folder` stay; those of later ones, which an
            interrupted run has written, are dropped.

    Raises:
        TrainingError: the folder cannot be made or written, or the disk is full.
    """

    def __init__(self, folder: Path, epochs: int = 0, steps: int = 0) -> None:
        # Slow to import, and not everyone asks for it.
        from visualdl.component.base_component import meta_data, scalar
        from visualdl.writer.record_writer import RecordWriter

        self.path = folder / f"vdlrecords.{int(time.time()):010}.log"  # a name that VisualDL looks for
        self._scalar, self._packer = scalar, RecordWriter
        try:
            folder.mkdir(exist_ok=True)
            earlier = sorted(folder.glob("vdlrecords.*.log"))
            if earlier:
                self.path = earlier[-1]
                _keep_done(earlier, epochs, steps)
            self._file = open(self.path, "ab", buffering=0, opener=open_without_links)  # noqa: SIM115
            is_new = not os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written: {error.strerror}") from error
        if is_new:
            self._write_records([meta_data(walltime=_milliseconds())])

    def on_step_end(self, report: StepReport) -> None:
        number = report.epoch * report.steps + report.step
        speed = report.images / report.seconds
        self._write(STEP, number, {**report.figures, "lr": report.learning_rate, "images_per_second": speed})

    def on_epoch_end(self, report: EpochReport) -> None:
        number = report.epoch + 1
        figures = {"lr": report.learning_rate, "images_per_second": report.images_per_second}
        self._write(f"{EPOCH}train/", number, {**report.train, **figures})
        if report.evaluation is not None:
            self._write(f"{EPOCH}eval/", number, report.evaluation)

    def _write(self, group: str, number: int, figures: Metrics) -> None:
        now = _milliseconds()
        self._write_records(
            [self._scalar(f"{group}{name}", value, number, walltime=now) for name, value in figures.items()]
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


def _keep_done(files: list[Path], epochs: int, steps: int) -> None:
    """Gather the records of the epochs and steps that are done in the last of the files, and remove the others.

    Where a file begins, what earlier ones have from there on was done again. Killed at any moment, the last file is
    complete, before or after, and this can be done again.
    """
    pieces: list[bytes] = []
    for file in reversed(files):
        content, ranges = file.read_bytes(), [[0, 0]]
        first_epoch, first_step = epochs + 1, steps
        for tag, number, start, end in _records(content):
            if tag.startswith(STEP):
                keeps, first_step = number < steps, min(first_step, number)
            elif tag.startswith(EPOCH):
                keeps, first_epoch = number <= epochs, min(first_epoch, number)
            else:
                keeps = tag != META or file is files[0]
            if keeps and ranges[-1][1] == start:
                ranges[-1][1] = end
            elif keeps:
                ranges.append([start, end])
        pieces = [*(content[start:end] for start, end in ranges), *pieces]
        epochs, steps = first_epoch - 1, first_step
    merged = files[-1].with_name(CONTINUED)
    write_atomically(merged, lambda file: file.writelines(pieces))
    os.replace(merged, files[-1])
    for obsolete in [*files[:-1], *temporary_files(files[-1].parent)]:
        obsolete.unlink(missing_ok=True)


def _records(content: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Tag, number, start and end of each record of a file, up to one that is damaged or was cut off by a kill."""
    from google.protobuf.message import DecodeError
    from visualdl.proto.record_pb2 import Record

    start = 0
    while start + HEADER.size <= len(content):
        end = start + HEADER.size + HEADER.unpack_from(content, start)[0]
        if end > len(content):
            return
        try:
            record = Record.FromString(content[start + HEADER.size : end])
        except DecodeError:
            return
        if record.values:
            yield record.values[0].tag, record.values[0].id, start, end
        start = end
