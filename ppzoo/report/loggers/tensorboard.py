"""The logger of TensorBoard, whose records `tensorboard --logdir FOLDER` shows.

Only TensorBoard's message classes are used: its writer imports TensorFlow where that is installed, writes in a thread
that reports errors late, and starts a new file where a run resumes.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppzoo.report.loggers.base import LOGGERS, Logger, PRCurve, RunStart
from ppzoo.report.loggers.pictures import encode_png
from ppzoo.report.loggers.record_file import META, Located, RecordFile

FOLDER, PATTERN = "tensorboard", "events.out.tfevents.*"
FILE_VERSION = "brain.Event:2"
HEADER, CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")


@LOGGERS.register_as("tensorboard")
class TensorBoardLogger(Logger):
    """Writes events of TensorBoard to the folder `tensorboard` of the run.

    Raises:
        ImportError: TensorBoard is not installed.
        OSError: the events cannot be written.
    """

    def __init__(self, start: RunStart) -> None:
        # Slow to import, and optional.
        from tensorboard.compat.proto import event_pb2, histogram_pb2, summary_pb2, tensor_pb2
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

        self._event, self._summary, self._tensor = event_pb2.Event, summary_pb2.Summary, tensor_pb2.TensorProto
        self._histogram, self._checksum = histogram_pb2.HistogramProto, masked_crc32c
        name = f"events.out.tfevents.{int(time.time()):010}.ppzoo"
        self._file = RecordFile(start.folder / FOLDER, name, PATTERN, locate_events, start)
        self.path = self._file.path
        if self._file.is_new:
            self._write(self._event(wall_time=time.time(), file_version=FILE_VERSION))

    def log_scalars(self, scalars: Mapping[str, float], number: int) -> None:
        self._log([self._summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()], number)

    def log_image(self, tag: str, image: np.ndarray, number: int) -> None:
        height, width, channels = image.shape
        picture = self._summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=encode_png(image)
        )
        self._log([self._summary.Value(tag=tag, image=picture)], number)

    def log_histogram(self, tag: str, counts: np.ndarray, edges: np.ndarray, number: int) -> None:
        centers = (edges[:-1] + edges[1:]) / 2
        histogram = self._histogram(
            min=edges[0],
            max=edges[-1],
            num=counts.sum(),
            sum=float(counts @ centers),
            sum_squares=float(counts @ centers**2),
            bucket_limit=edges[1:].tolist(),
            bucket=counts.tolist(),
        )
        self._log([self._summary.Value(tag=tag, histo=histogram)], number)

    def log_text(self, tag: str, text: str, number: int) -> None:
        from tensorboard.plugins.text.metadata import create_summary_metadata

        code = "\n".join(f"    {line}" for line in text.splitlines())  # TensorBoard renders text as Markdown
        content = self._tensor(dtype="DT_STRING", string_val=[code.encode(errors="replace")])
        self._log([self._summary.Value(tag=tag, metadata=create_summary_metadata("", ""), tensor=content)], number)

    def log_pr_curve(self, tag: str, curve: PRCurve, number: int) -> None:
        from tensorboard.plugins.pr_curve.metadata import create_summary_metadata

        rows = np.stack([curve.tp, curve.fp, curve.tn, curve.fn, curve.precision, curve.recall])
        content = self._tensor(dtype="DT_FLOAT", float_val=rows.ravel().tolist())
        for size in rows.shape:
            content.tensor_shape.dim.add(size=size)
        metadata = create_summary_metadata("", "", rows.shape[1])
        self._log([self._summary.Value(tag=tag, metadata=metadata, tensor=content)], number)

    def log_hyperparameters(self, values: Mapping[str, bool | int | float | str], metrics: Sequence[str]) -> None:
        from tensorboard.plugins.hparams import summary_v2

        names = [summary_v2.HParam(name) for name in values]
        shown = [summary_v2.Metric(tag) for tag in metrics]
        for summary in (
            summary_v2.hparams_config_pb(names, shown),
            summary_v2.hparams_pb(dict(values), trial_id=self.path.parent.parent.name),
        ):
            self._log(summary.value, 0)

    def _log(self, values: Sequence[Any], number: int) -> None:
        self._write(self._event(wall_time=time.time(), step=number, summary=self._summary(value=values)))

    def _write(self, event: Any) -> None:
        content = event.SerializeToString()
        header = HEADER.pack(len(content))
        checksums = [CHECKSUM.pack(self._checksum(part)) for part in (header, content)]
        self._file.write(b"".join((header, checksums[0], content, checksums[1])))

    def close(self) -> None:
        self._file.close()


def locate_events(content: bytes) -> Iterator[Located]:
    """Yield the events of a file of TensorBoard, up to the first that is damaged or incomplete.

    The tag of an event is that of its first value.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    start, before = 0, HEADER.size + CHECKSUM.size
    while start + before <= len(content):
        header = content[start : start + HEADER.size]
        end = start + before + HEADER.unpack(header)[0] + CHECKSUM.size
        if end > len(content) or CHECKSUM.unpack_from(content, start + HEADER.size)[0] != masked_crc32c(header):
            return
        try:
            event = Event.FromString(content[start + before : end - CHECKSUM.size])
        except DecodeError:
            return
        values = event.summary.value
        yield Located(values[0].tag if values else META, event.step, start, end)
        start = end
