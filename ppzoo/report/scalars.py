"""The metrics of a run as VisualDL scalars, which `visualdl --logdir OUTPUT_FOLDER` shows.

VisualDL's own `LogWriter` opens the file for each value, recreates a folder that was removed, and only prints that a
disk is full. Here its records are written to a file that stays open. Of several files in a folder VisualDL reads the
one with the last name, so a resumed run continues the existing file.
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

STEP, EPOCH = "step/", "epoch/"  # prefixes of the tags; steps are numbered from 0, epochs from 1
META = "meta_data_tag"  # VisualDL's tag of the first record of a file
MERGED = "continued"  # a file name that VisualDL ignores
HEADER = struct.Struct("<Q")


class Scalars(Callback):
    """Writes loss, metrics, learning rate and images/s for each step and each epoch.

    Args:
        folder: folder of VisualDL's records.
        epochs, steps: number of finished epochs and steps. Their records in `folder` are kept; later ones, written
            by an interrupted run, are removed.

    Raises:
        TrainingError: the folder cannot be created or written, or the disk is full.
    """

    def __init__(self, folder: Path, epochs: int = 0, steps: int = 0) -> None:
        # Slow to import, and optional.
        from visualdl.component.base_component import meta_data, scalar
        from visualdl.writer.record_writer import RecordWriter

        self.path = folder / f"vdlrecords.{int(time.time()):010}.log"  # the pattern that VisualDL searches for
        self._scalar, self._packer = scalar, RecordWriter
        try:
            folder.mkdir(exist_ok=True)
            earlier = sorted(folder.glob("vdlrecords.*.log"))
            if earlier:
                self.path = earlier[-1]
                _merge_files(earlier, epochs, steps)
            self._file = open(self.path, "ab", buffering=0, opener=open_without_links)  # noqa: SIM115
            is_new = not os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise TrainingError(f"cannot write {self.path}: {error.strerror}") from error
        if is_new:
            self._write_records([meta_data(walltime=_milliseconds())])

    def on_step_end(self, report: StepReport) -> None:
        number = report.epoch * report.steps + report.step
        speed = report.images / report.seconds
        self._write(STEP, number, {**report.metrics, "lr": report.learning_rate, "images_per_second": speed})

    def on_epoch_end(self, report: EpochReport) -> None:
        number = report.epoch + 1
        extra = {"lr": report.learning_rate, "images_per_second": report.images_per_second}
        self._write(f"{EPOCH}train/", number, {**report.train, **extra})
        if report.evaluation is not None:
            self._write(f"{EPOCH}eval/", number, report.evaluation)

    def _write(self, group: str, number: int, metrics: Metrics) -> None:
        now = _milliseconds()
        self._write_records(
            [self._scalar(f"{group}{name}", value, number, walltime=now) for name, value in metrics.items()]
        )

    def _write_records(self, records: list[Any]) -> None:
        packed = io.BytesIO()
        for record in records:
            self._packer(packed).write(record.SerializeToString())
        try:
            self._file.write(packed.getvalue())
        except OSError as error:
            raise TrainingError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()


def _milliseconds() -> int:
    return round(time.time() * 1000)


def _merge_files(files: list[Path], epochs: int, steps: int) -> None:
    """Merge the records of finished epochs and steps into the last of the files, and remove the others.

    Each file replaces the records of earlier files from its first epoch and step on. After a kill at any moment the
    last file is complete, before or after the merge, and the merge can be repeated.
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
    merged = files[-1].with_name(MERGED)
    write_atomically(merged, lambda file: file.writelines(pieces))
    os.replace(merged, files[-1])
    for obsolete in [*files[:-1], *temporary_files(files[-1].parent)]:
        obsolete.unlink(missing_ok=True)


def _records(content: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Yield tag, number, start and end of each record of a file, up to the first that is damaged or incomplete."""
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
