"""Prediction of many images: worker processes read and prepare batches while this process runs the network."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import cv2
import numpy as np

from ppzoo.batch_inference import Video, VideoSource
from ppzoo.builders.batch_model import BatchModel, Prediction, Preparation, Views
from ppzoo.builders.data_loading import read_image
from ppzoo.builders.inference import require_equal_shapes
from ppzoo.data.batch_reader import Allocate, Arrays, BatchId, BatchReader, BatchRequest, BatchResult, Failure
from ppzoo.data.worker_pool import WorkerPool
from ppzoo.errors import ConfigError, DataError

Item = TypeVar("Item", str, int)


class Outcome(NamedTuple):
    """The result of an image: its time in the video in seconds (0 for files), and its prediction or its error."""

    seconds: float
    prediction: Prediction | DataError


class ImageReader(BatchReader):
    """Reads batches of image files; the keys of a request are paths."""

    def __init__(self, prepare: Preparation) -> None:
        self.prepare, self._random = prepare, np.random.default_rng(0)

    def __call__(self, request: BatchRequest, empty: Allocate = np.empty) -> BatchResult:
        stack, failures = _Stack(len(request.keys), empty), []
        for position, key in enumerate(request.keys):
            try:
                views: Any = read_image(Path(cast(str, key)), self._views)
            except DataError as error:
                failures.append(Failure(position, str(error)))
            else:
                stack.add(position, 0.0, views)
        return stack.result(failures)

    def _views(self, image: bytes) -> Any:
        return self.prepare(image, self._random)


class FrameReader(BatchReader):
    """Reads batches of frames in a single process; the keys of requests are frame numbers in ascending order.

    Frames after the end of the video are missing in the result.
    """

    def __init__(self, source: VideoSource, prepare: Preparation) -> None:
        self.source, self.prepare, self._random = source, prepare, np.random.default_rng(0)
        self._video: Video | None = None

    def __call__(self, request: BatchRequest, empty: Allocate = np.empty) -> BatchResult:
        self._video = self._video or Video(self.source)
        stack = _Stack(len(request.keys), empty)
        for position, frame in enumerate(self._video.frames(iter(cast(Sequence[int], request.keys)))):
            stack.add(position, frame.seconds, self.prepare(frame.pixels, self._random))
        return stack.result([])


class _Stack:
    """Collects the images of a batch, with all views of an image in one row.

    In the resulting `Arrays`, `labels` has the shape of each view, and `indices` position and seconds of each image.
    """

    def __init__(self, count: int, empty: Allocate) -> None:
        self._count, self._empty = count, empty
        self._images: np.ndarray | None = None
        self._shapes: list[tuple[int, ...]] | None = None
        self._details: list[tuple[int, float]] = []

    def add(self, position: int, seconds: float, views: Views) -> None:
        try:
            self._shapes = require_equal_shapes(self._shapes, views)
        except ConfigError as error:
            raise DataError(error.line) from error  # the only errors that workers send to the parent process
        if self._images is None:
            self._images = self._empty((self._count, sum(view.size for view in views)), views[0].dtype)
        row, start = self._images[len(self._details)], 0
        for view in views:
            row[start : start + view.size].reshape(view.shape)[...] = view
            start += view.size
        self._details.append((position, seconds))

    def result(self, failures: list[Failure]) -> BatchResult:
        if self._images is None:
            return BatchResult(None, failures)
        images = self._images[: len(self._details)]
        return BatchResult(Arrays(images, np.array(self._shapes), np.array(self._details, np.float64)), failures)


def predict_batches(
    model: BatchModel, reader: BatchReader, batches: Iterable[Sequence[Item]], workers: int
) -> Iterator[tuple[Sequence[Item], dict[int, Outcome]]]:
    """Yield each batch, in order, with the outcome of each of its images by position; frames after the end have none.

    Args:
        reader: reads the images; the items of a batch are the keys of its request.
        batches: the batches; a few are requested in advance, so that the workers read while the network computes.
        workers: number of worker processes.
    """
    waiting: deque[Sequence[Item]] = deque()

    def requests() -> Iterator[BatchRequest]:
        for step, batch in enumerate(batches):
            waiting.append(batch)
            yield BatchRequest(BatchId(0, step, 0), cast(Any, batch))

    def predict(result: BatchResult) -> dict[int, Outcome]:
        outcomes = {failure.sample: Outcome(0.0, DataError(failure.reason)) for failure in result.failures}
        if result.arrays is not None:
            images, shapes, details = result.arrays
            names = [_describe(waiting[0][int(position)]) for position, _ in details]
            predictions = model.predict(list(_split_views(images, shapes)), names)
            for (position, seconds), prediction in zip(details.tolist(), predictions, strict=True):
                outcomes[int(position)] = Outcome(seconds, prediction)
        return outcomes

    cv2.setNumThreads(1)  # each worker is one thread; OpenCV's thread pool does not survive a fork
    pool = WorkerPool(reader, workers, shared_memory=True)
    try:
        for outcomes in pool.read(requests(), predict):
            yield waiting.popleft(), outcomes
    finally:
        pool.close()


def _split_views(images: np.ndarray, shapes: np.ndarray) -> Iterator[np.ndarray]:
    start = 0
    for shape in shapes.tolist():
        stop = start + int(np.prod(shape))
        yield images[:, start:stop].reshape(len(images), *shape)
        start = stop


def _describe(item: str | int) -> str:
    return os.fsdecode(item) if isinstance(item, str) else f"frame {item}"
