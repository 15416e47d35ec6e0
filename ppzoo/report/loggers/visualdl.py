"""The logger of VisualDL, whose records `ppzoo board` shows.

VisualDL's own `LogWriter` opens the file for each value, recreates a folder that was removed, and only prints that a
disk is full; its `add_pr_curve` fails with NumPy 2. Here VisualDL's records are written to a file that stays open.
VisualDL's `add_graph` is not used: it renames the network's variables and needs a file that PaddlePaddle 3 does not
write.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppzoo.report.loggers.base import LOGGERS, Logger, PRCurve, RunStart
from ppzoo.report.loggers.pictures import encode_png
from ppzoo.report.loggers.record_file import META, Located, RecordFile

FOLDER, PATTERN = "vdl", "vdlrecords.*.log"  # the names that VisualDL searches for have this pattern
HEADER = struct.Struct("<Q")


@LOGGERS.register_as("visualdl")
class VisualDLLogger(Logger):
    """Writes records of VisualDL to the folder `vdl` of the run.

    Raises:
        ImportError: VisualDL is not installed.
        OSError: the records cannot be written.
    """

    def __init__(self, start: RunStart) -> None:
        # Slow to import, and optional.
        from visualdl.component import base_component
        from visualdl.proto.record_pb2 import Record
        from visualdl.writer.record_writer import RecordWriter

        self._make, self._record, self._packer = base_component, Record, RecordWriter
        name = f"vdlrecords.{int(time.time()):010}.log"
        self._file = RecordFile(start.folder / FOLDER, name, PATTERN, locate_records, start)
        self.path = self._file.path
        if self._file.is_new:
            self._write([base_component.meta_data(tag=META, walltime=_milliseconds())])

    def log_scalars(self, scalars: Mapping[str, float], number: int) -> None:
        now = _milliseconds()
        self._write([self._make.scalar(tag, value, number, walltime=now) for tag, value in scalars.items()])

    def log_image(self, tag: str, image: np.ndarray, number: int) -> None:
        picture = self._record.Image(encoded_image_string=encode_png(image))
        value = self._record.Value(id=number, tag=tag, timestamp=_milliseconds(), image=picture)
        self._write([self._record(values=[value])])

    def log_histogram(self, tag: str, counts: np.ndarray, edges: np.ndarray, number: int) -> None:
        self._write([self._make.histogram(tag, counts, edges, number, walltime=_milliseconds())])

    def log_text(self, tag: str, text: str, number: int) -> None:
        self._write([self._make.text(tag, text, number, walltime=_milliseconds())])

    def log_pr_curve(self, tag: str, curve: PRCurve, number: int) -> None:
        counts = (curve.tp, curve.fp, curve.tn, curve.fn, curve.precision, curve.recall)
        self._write([self._make.pr_curve_raw(tag, *(array.tolist() for array in counts), number, _milliseconds())])

    def log_hyperparameters(self, values: Mapping[str, bool | int | float | str], metrics: Sequence[str]) -> None:
        # VisualDL has no truth values, and its table shows nothing in columns whose name has a dot.
        plain = {
            key.replace(".", "/"): str(value) if isinstance(value, bool) else value for key, value in values.items()
        }
        self._write([self._make.hparam(self.path.name, plain, list(metrics), walltime=_milliseconds())])

    def _write(self, records: list[Any]) -> None:
        packed = io.BytesIO()
        for record in records:
            self._packer(packed).write(record.SerializeToString())
        self._file.write(packed.getvalue())

    def close(self) -> None:
        self._file.close()


def _milliseconds() -> int:
    return round(time.time() * 1000)


def locate_records(content: bytes) -> Iterator[Located]:
    """Yield the records of a file of VisualDL, up to the first that is damaged or incomplete."""
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
            yield Located(record.values[0].tag, record.values[0].id, start, end)
        start = end
