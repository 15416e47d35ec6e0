"""What the process that reads does: samples, and batches of them, as arrays that can be sent to another process.

A worker's exceptions would reach the user as wrapped tracebacks, and PaddlePaddle loses batches without an array;
so errors, and samples that were left out, travel as arrays too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ppzoo.data.batch_transforms import BatchTransform
from ppzoo.data.pipeline import Key, Sample, Samples
from ppzoo.errors import DataError

OnError = Literal["raise", "skip"]


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
    """A batch: images (N, C, H, W), labels (N) or (N, classes), indices (N), and failures as encoded text."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    failures: np.ndarray


class Reader:
    """Reads samples and makes batches of them.

    The batch transforms' generator follows from (seed, epoch, step, rank): not from which process reads.

    Args:
        on_error: "raise": a sample that cannot be read is an error; "skip": it is left out of its batch.
    """

    def __init__(self, samples: Samples, batch_transforms: Sequence[BatchTransform], on_error: OnError) -> None:
        self.samples, self.batch_transforms, self.on_error = samples, batch_transforms, on_error

    def item(self, key: Key | Step) -> Sample | Failure | Step:
        """The sample of a key, or why there is none; a step is passed on to `batch`."""
        if isinstance(key, Step):
            return key
        try:
            return self.samples[key]
        except DataError as error:
            return Failure(key[1], str(error))

    def batch(self, items: Sequence[Sample | Failure | Step]) -> tuple[np.ndarray, ...]:
        """The arrays of a step and its items; of an error the text alone."""
        try:
            return tuple(self._arrays(items))
        except DataError as error:
            return (encode(str(error)),)

    def _arrays(self, items: Sequence[Sample | Failure | Step]) -> Arrays:
        (step,) = (item for item in items if isinstance(item, Step))
        samples = [item for item in items if isinstance(item, Sample)]
        failures = [item for item in items if isinstance(item, Failure)]
        if failures and self.on_error == "raise":
            raise DataError(failures[0].reason)
        if not samples:
            raise DataError(f"no image of a batch could be read; the first: {failures[0].reason}")
        images, labels, indices = stack(samples)
        if self.batch_transforms:
            # The spawn key keeps this stream apart from those of samples (none) and orders (0).
            random = np.random.default_rng(np.random.SeedSequence((self.samples.seed, *step), spawn_key=(1,)))
            for transform in self.batch_transforms:
                images, labels = transform(images, labels, random)
        return Arrays(images, labels, indices, encode(json.dumps(failures)))


def stack(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images, labels and indices of some samples.

    Raises:
        DataError: images of different shapes.
    """
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        raise DataError(
            f"expected images of one shape in a batch, received {' and '.join(map(str, sorted(shapes)[:2]))}: "
            "add ResizeImage with size, CropImage or RandCropImage to transform_ops"
        )
    labels, indices = ([sample.label for sample in samples], [sample.index for sample in samples])
    return np.stack([sample.image for sample in samples]), np.array(labels), np.array(indices)


def encode(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def decode(array: np.ndarray) -> str:
    return array.tobytes().decode()


def decode_failures(array: np.ndarray) -> list[Failure]:
    return [Failure(*failure) for failure in json.loads(decode(array))]
