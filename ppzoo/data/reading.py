"""What the process that reads does: samples, and batches of them, as arrays that can be handed to another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ppzoo.data.batch_transforms import BatchTransform
from ppzoo.data.samples import Key, Sample, Samples
from ppzoo.errors import DataError

HOW_TO_SKIP = "`on_error: skip` in the dataset section skips such images, `ppzoo data check CONFIG` lists them"

OnError = Literal["raise", "skip"]
Empty = Callable[[tuple[int, ...], np.dtype], np.ndarray]


class Step(NamedTuple):
    """The place of a batch: epoch, step, and the number of the process that trains on it."""

    epoch: int
    step: int
    rank: int


class Failure(NamedTuple):
    """A sample that cannot be read, and why."""

    sample: int
    reason: str


class Arrays(NamedTuple):
    """A batch: images, labels (N) or (N, classes), indices (N).

    Images are (N, C, H, W) float32 or float16, or (N, H, W, C) uint8 if they are not normalized yet.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


class Request(NamedTuple):
    """A batch to be read."""

    step: Step
    keys: Sequence[Key]


class Answer(NamedTuple):
    """A batch that was read, None where nothing of it could be, and the samples that it lacks.

    normalized: False if `Samples.normalize` is still to be applied to the images.
    """

    arrays: Arrays | None
    failures: list[Failure]
    normalized: bool = True


class Reader:
    """Reads samples and makes batches of them.

    The batch transforms' generator follows from (seed, epoch, step, rank): not from which process reads.

    Args:
        on_error: "raise": a sample that cannot be read is an error; "skip": it is left out of its batch.
    """

    def __init__(self, samples: Samples, batch_transforms: Sequence[BatchTransform], on_error: OnError) -> None:
        self.samples, self.batch_transforms, self.on_error = samples, batch_transforms, on_error

    def __call__(self, request: Request, empty: Empty = np.empty) -> Answer:
        """
        Args:
            empty: makes the array of (shape, dtype) in which the images are put together.

        Raises:
            DataError: a sample cannot be read and may not be left out, or they do not make a batch.
        """
        images: np.ndarray | None = None
        labels: list[np.int64 | np.ndarray] = []
        indices: list[np.int64] = []
        failures: list[Failure] = []
        normalized = True
        for key in request.keys:
            try:
                sample = self.samples.read(key)
            except DataError as error:
                if self.on_error == "raise":
                    raise DataError(f"{error}; {HOW_TO_SKIP}") from error
                failures.append(Failure(key[1], str(error)))
                continue
            if images is None:
                images = empty((len(request.keys), *sample.image.shape), sample.image.dtype)
                normalized = sample.normalized
            _require_shape(sample, images)
            images[len(labels)] = sample.image
            labels.append(sample.label)
            indices.append(sample.index)
        if images is None:
            return Answer(None, failures)
        arrays = Arrays(images[: len(labels)], np.array(labels), np.array(indices))
        if not self.batch_transforms:
            return Answer(arrays, failures, normalized)
        if not normalized:
            arrays = arrays._replace(images=self.samples.normalize(arrays.images))
        return Answer(self._transform(arrays, request.step), failures)

    def _transform(self, arrays: Arrays, step: Step) -> Arrays:
        images, labels = arrays.images, arrays.labels
        # The spawn key keeps this stream apart from those of samples (none) and orders (0).
        random = np.random.default_rng(np.random.SeedSequence((self.samples.seed, *step), spawn_key=(1,)))
        for transform in self.batch_transforms:
            images, labels = transform(images, labels, random)
        return Arrays(images, labels, arrays.indices)


def _require_shape(sample: Sample, images: np.ndarray) -> None:
    expected, received = images.shape[1:], sample.image.shape
    if received != expected:
        raise DataError(
            f"expected images of one shape in a batch, got {min(expected, received)} and "
            f"{max(expected, received)}: add ResizeImage with size, CropImage or RandCropImage to transform_ops"
        )
