"""Reading batches of samples as arrays, in the training process or in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np

from ppzoo.data.batch_transforms import BatchTransform
from ppzoo.data.samples import Key, Sample, Samples
from ppzoo.errors import DataError

SKIP_HINT = (
    "set `on_error: skip` in the dataset section to skip such images, or list them with `ppzoo data check CONFIG`"
)

FLOAT = np.dtype(np.float32)

OnError = Literal["raise", "skip"]
Allocate = Callable[[tuple[int, ...], np.dtype], np.ndarray]


class BatchId(NamedTuple):
    """Which batch: epoch, step, and the rank of the process that trains on it."""

    epoch: int
    step: int
    rank: int


class Failure(NamedTuple):
    """A sample that cannot be read, and why."""

    sample: int
    reason: str


class Arrays(NamedTuple):
    """A batch: images, labels (N), (N, classes) or (N, 2, classes), indices (N).

    Images are (N, C, H, W) float32 or float16, or (N, H, W, C) uint8 if they are not normalized yet.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


class BatchRequest(NamedTuple):
    """The batch to read: its epoch, step and rank, and the (epoch, index) of each sample."""

    step: BatchId
    keys: Sequence[Key]


class BatchResult(NamedTuple):
    """A batch, None if none of its samples could be read, and the samples that were skipped.

    normalized: False if `Samples.normalize` is still to be applied to the images.
    """

    arrays: Arrays | None
    failures: list[Failure]
    normalized: bool = True


class BatchReader:
    """Reads samples and stacks them into batches.

    The batch transforms' generator is seeded with (seed, epoch, step, rank), so it does not depend on which process
    reads.

    Args:
        on_error: "raise": a sample that cannot be read is an error; "skip": the batch is read without it.

    Attributes:
        normalizes: whether the reader normalizes each image when it is read, while it is in the processor's cache. If
            not, the reader normalizes complete batches before batch transforms; without batch transforms, the
            caller does.
    """

    normalizes = False

    def __init__(self, samples: Samples, batch_transforms: Sequence[BatchTransform], on_error: OnError) -> None:
        self.samples, self.batch_transforms, self.on_error = samples, batch_transforms, on_error

    def __call__(self, request: BatchRequest, empty: Allocate = np.empty) -> BatchResult:
        """Read a batch.

        Args:
            empty: allocates the array of (shape, dtype) in which the images are stacked.

        Raises:
            DataError: a sample cannot be read and `on_error` is "raise", or the images differ in shape.
        """
        stack = _Stack(self.samples, len(request.keys), empty, self.normalizes)
        labels: list[np.int64 | np.ndarray] = []
        indices: list[np.int64] = []
        failures: list[Failure] = []
        for key, random in zip(request.keys, self.samples.generators(request.keys), strict=True):
            try:
                sample = self.samples.read_unmirrored(key, random)
            except DataError as error:
                if self.on_error == "raise":
                    raise DataError(f"{error}; {SKIP_HINT}") from error
                failures.append(Failure(key[1], str(error)))
                continue
            stack.add(sample)
            labels.append(sample.label)
            indices.append(sample.index)
        if stack.images is None:
            return BatchResult(None, failures)
        arrays = Arrays(stack.images[: len(labels)], np.array(labels), np.array(indices))
        if not self.batch_transforms:
            return BatchResult(arrays, failures, stack.is_normalized)
        if not stack.is_normalized:
            arrays = arrays._replace(images=self.samples.normalize(arrays.images))
        return BatchResult(self._transform(arrays, request.step), failures)

    def _transform(self, arrays: Arrays, step: BatchId) -> Arrays:
        images, labels = arrays.images, arrays.labels
        # The spawn key separates this random stream from those of samples (no spawn key) and of samplers' orders (0).
        random = np.random.default_rng(np.random.SeedSequence((self.samples.seed, *step), spawn_key=(1,)))
        for transform in self.batch_transforms:
            images, labels = transform(images, labels, random)
        return Arrays(images, labels, arrays.indices)


class _Stack:
    """The images of a batch of `count` samples, in one array.

    Args:
        normalize: whether to normalize the images that are not normalized yet.

    Attributes:
        images: the array, of which the first `length` images are those of the samples; None before the first sample.
        is_normalized: whether they are normalized.
    """

    def __init__(self, samples: Samples, count: int, empty: Allocate, normalize: bool) -> None:
        self.samples, self.count, self.empty, self.normalize = samples, count, empty, normalize
        self.images: np.ndarray | None = None
        self.is_normalized, self.length = False, 0
        self.shape: tuple[int, ...] = ()

    def add(self, sample: Sample) -> None:
        """Append the image of a sample.

        Raises:
            DataError: its shape differs from that of the batch's first image.
        """
        image, normalizes = sample.image, self.normalize and not sample.normalized
        if self.images is None:
            self.shape, self.is_normalized = image.shape, sample.normalized or normalizes
            shape, dtype = (image.shape, image.dtype) if not normalizes else (_channels_first(image), FLOAT)
            self.images = self.empty((self.count, *shape), dtype)
        _require_shape(image.shape, self.shape)
        if normalizes:
            self.samples.write_normalized(image, self.images, self.length, sample.mirrored)
        elif sample.mirrored:
            cv2.flip(image, 1, dst=self.images[self.length])
        else:
            self.images[self.length] = image
        self.length += 1


def _channels_first(image: np.ndarray) -> tuple[int, ...]:
    height, width, channels = image.shape
    return channels, height, width


def _require_shape(received: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if received != expected:
        raise DataError(
            f"expected images of one shape in a batch, got {min(expected, received)} and "
            f"{max(expected, received)}: add ResizeImage with size, CropImage or RandCropImage to transform_ops"
        )
