"""Write the predictions of a folder of images, or of the frames of a video, to a table."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppzoo import data
from ppzoo.batch_inference import (
    ClassFolders,
    RowFormat,
    Setting,
    SortBy,
    TableSession,
    Video,
    VideoSource,
    missing_frames,
    path_text,
)
from ppzoo.batch_inference.rows import FRAME, PATH, SECONDS, Row
from ppzoo.builders.batch_model import BatchModel, Prediction
from ppzoo.builders.batch_prediction import FrameReader, ImageReader, Outcome, predict_batches
from ppzoo.errors import ConfigError, DataError
from ppzoo.host import usable_cores
from ppzoo.progress import Progress


@dataclass(frozen=True)
class TableTask:
    """The source of a table, the output, and the options.

    Attributes:
        source: a folder of images, or a video.
        every: of a video, the frames 0, `every`, 2 `every`, ... are predicted.
        sort_into: the folder of the class folders; None if images are not sorted.
    """

    source: Path | VideoSource
    output: Path
    every: int = 1
    sort_into: Path | None = None
    sort_by: SortBy = "copy"
    overwrite: bool = False


def count_source(source: Path | VideoSource) -> int | None:
    """Return the number of images of a folder, or of frames according to the header of a video; None if unknown.

    Raises:
        DataError: a folder cannot be read or has no images, or the video cannot be opened.
    """
    if isinstance(source, VideoSource):
        video = Video(source)
        video.close()
        return video.count
    with Progress(None, "counting images") as progress:
        count = sum(1 for _ in progress.track(data.iter_images(str(source))))
    if not count:
        raise DataError(f"IMAGE: expected a folder with images, got {str(source)!r}")
    return count


def open_table(model: BatchModel, task: TableTask) -> TableSession:
    """Open the table of a task; a table that an interrupted task has begun is resumed.

    Raises:
        ConfigError: the table belongs to another task or is complete, or --sort-into is not possible.
        OutputError: the table cannot be written.
    """
    if task.sort_into is not None and not model.topk:
        raise ConfigError(
            "--sort-into: expected a network that predicts one class per image, got one that predicts several labels"
        )
    is_video = isinstance(task.source, VideoSource)
    source = str(task.source)
    if not (isinstance(task.source, VideoSource) and task.source.is_camera):
        source = os.path.realpath(source)
    settings = {
        "video" if is_video else "folder": Setting.of(source),
        "--top": Setting.of(model.topk),
        "--every": Setting.of(task.every),
    }
    if task.sort_into is not None:
        folder = str(task.sort_into.resolve())
        settings |= {"--sort-into": Setting.of(folder), "--sort-by": Setting.of(task.sort_by)}
    # Compared last, since it also depends on options such as --top: if one of them differs, the error names the option.
    settings["model"] = Setting(model.identity, model.title)
    return TableSession(task.output, RowFormat(model.topk, is_video), settings, overwrite=task.overwrite)


def fill_table(model: BatchModel, task: TableTask, table: TableSession, total: int | None) -> None:
    """Predict what the table does not have yet, and complete it.

    Args:
        total: see `count_source`.

    Raises:
        OutputError: the table or a copy cannot be written; the table can be resumed then.
        DataError: the video is damaged.
    """
    if isinstance(task.source, VideoSource):
        _fill_with_frames(model, task.source, task.every, table, total)
    else:
        _fill_with_images(model, task, str(task.source), table, total)


def _fill_with_images(model: BatchModel, task: TableTask, folder: str, table: TableSession, total: int | None) -> None:
    if task.sort_into is None:
        _predict_images(model, folder, table, total, None)
        return
    with ClassFolders(task.sort_into, task.sort_by, model.class_names) as sorter:
        _predict_images(model, folder, table, total, sorter)


def _predict_images(
    model: BatchModel, folder: str, table: TableSession, total: int | None, sorter: ClassFolders | None
) -> None:
    start = len(os.path.join(folder, ""))
    files: Iterable[str] = data.iter_images(folder)
    if len(table.done):
        files = (file for file in files if not table.done.take(path_text(file[start:])))
    batches, reader = _batches(files, model.batch_size), ImageReader(model.prepare)
    with Progress(total, "predicting", done=table.count) as progress:
        for batch, outcomes in predict_batches(model, reader, batches, workers=usable_cores()):
            results = [outcomes[position].prediction for position in range(len(batch))]
            if sorter is not None:
                pairs = zip(batch, results, strict=True)
                results = [_sort(sorter, file, file[start:], result) for file, result in pairs]
            pairs = zip(batch, results, strict=True)
            table.write([table.rows.row({PATH: path_text(file[start:])}, result) for file, result in pairs])
            progress.advance(len(batch))
    table.finish()


def _sort(
    sorter: ClassFolders, file: str, relative_path: str, prediction: Prediction | DataError
) -> Prediction | DataError:
    """Copy or link an image to the folder of its class; return the prediction, or the error if that fails."""
    if isinstance(prediction, DataError):
        return prediction
    try:
        sorter.add(file, relative_path, prediction["label_names"][0])
    except DataError as error:  # the image has disappeared since it was predicted
        return error
    return prediction


def _fill_with_frames(
    model: BatchModel, source: VideoSource, every: int, table: TableSession, count: int | None
) -> None:
    """Predict the frames of a video; those of a camera until the process is interrupted."""
    is_at_end = False

    def numbers() -> Iterator[int]:
        for number in itertools.count(0, every):
            if is_at_end:
                return
            if not table.done.take(str(number)):
                yield number

    batches = _batches(numbers(), 1 if source.is_camera else model.batch_size)
    predicted = predict_batches(model, FrameReader(source, model.prepare), batches, workers=1)
    total = None if count is None else -(-count // every)
    with Progress(total, "predicting", unit="frame", done=table.count) as progress:
        for batch, outcomes in predicted:
            table.write(list(_frame_rows(table.rows, batch, outcomes)))
            progress.advance(len(outcomes))
            is_at_end = is_at_end or len(outcomes) < len(batch)
    table.finish()
    missing = missing_frames(table.count, total)
    if missing:
        raise DataError(f"{source}: {missing} of {total} frames are missing: the video is damaged, or was cut off")


def _frame_rows(rows: RowFormat, batch: Sequence[int], outcomes: dict[int, Outcome]) -> Iterator[Row]:
    for position, outcome in outcomes.items():
        yield rows.row({FRAME: batch[position], SECONDS: outcome.seconds}, outcome.prediction)


def _batches(items: Iterable[str] | Iterable[int], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
