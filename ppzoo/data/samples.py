"""Samples: the images of a dataset after their transforms, with labels.

A sample depends on the seed and its key (`Key`) only, not on its position in the epoch or the number of worker
processes. So runs are reproducible, and can resume in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ppzoo.data.cache import CachedImages
from ppzoo.data.datasets import Dataset
from ppzoo.data.transforms import Compose
from ppzoo.data.transforms.sample_labels import LabelingGenerator, require_label
from ppzoo.errors import DataError

Key = tuple[int, ...]
"""Epoch and index of a sample. The third number, if there is one, is the number of the copy, for samplers that repeat
samples; copy 0 has no third number unless a fourth follows: the number of the image size, for samplers that choose it.
"""
SIZE = 3  # position of the image size in a key


@dataclass(slots=True)
class Sample:
    """A transformed image and its label.

    image: C x H x W, C-contiguous, float32 (float16 if the transforms return that); index: int64.
    label: int64; for several labels per image, (classes,) float32, or (2, classes) with the fractions of positives
        (`label_ratio`).
    normalized: False if `image` is H x W x C bytes that are still to be normalized (`Samples.normalize`).
    mirrored: whether these bytes are still to be mirrored horizontally.
    """

    image: np.ndarray
    label: np.int64 | np.ndarray
    index: np.int64
    normalized: bool = True
    mirrored: bool = False


class Samples:
    """The transformed samples of a dataset, by key.

    Args:
        transforms: applied to each image; a result of H x W x C is transposed.
        seed: seeds, with the key, the random transforms.
        cache: the images of `dataset` after the first of `transforms`; samples are bit-identical with and without it.
        sized: the transforms for each image size that a sampler can choose; not with a cache.
    """

    def __init__(
        self,
        dataset: Dataset,
        transforms: Compose,
        seed: int,
        cache: CachedImages | None = None,
        sized: Sequence[Compose] = (),
    ) -> None:
        self.dataset, self.transforms, self.seed, self.cache, self.sized = dataset, transforms, seed, cache, sized
        self.transform_label: str | None = getattr(dataset, "transform_label", None)
        require_label(self.transform_label, transforms.transforms)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample:
        """Return the sample of a key.

        Raises:
            DataError: the image is missing or broken, or a transform cannot process it; the error names the file.
        """
        sample = self.read(key)
        if sample.normalized:
            return sample
        return replace(sample, image=self.normalize(sample.image[np.newaxis])[0], normalized=True)

    def generators(self, keys: Sequence[Key]) -> list[np.random.Generator]:
        """Return the random generators of samples.

        Creating them in a row takes a quarter of the time of creating each before its sample is read.
        """
        create = np.random.default_rng if self.transform_label is None else LabelingGenerator
        return [create((self.seed, *key)) for key in keys]

    def read(self, key: Key) -> Sample:
        """Return the sample; if the last transform normalizes uint8 images, the image is not normalized yet.

        Raises:
            DataError: see `__getitem__`.
        """
        sample = self.read_unmirrored(key, self.generators([key])[0])
        if sample.mirrored:
            sample.image, sample.mirrored = mirror(sample.image), False
        return sample

    def read_unmirrored(self, key: Key, random: np.random.Generator) -> Sample:
        """Return what `read` returns, but not mirrored yet if the transform before the normalization mirrors images.

        Args:
            random: the generator of the sample.

        Raises:
            DataError: see `__getitem__`.
        """
        index = key[1]
        source, label = self.dataset[index] if self.cache is None else self.cache[index]
        try:
            image, normalized, mirrored = self._transform(source, random, key)
        except DataError as error:
            raise DataError(f"{self.dataset.describe(index)}: {error}") from error
        if isinstance(random, LabelingGenerator):
            label = random.labels[str(self.transform_label)]
        target = label if isinstance(label, np.ndarray) else np.int64(label)
        return Sample(np.ascontiguousarray(image), target, np.int64(index), normalized, mirrored)

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Normalize a batch of N x H x W x C bytes to N x C x H x W."""
        assert self.transforms.last is not None
        return self.transforms.last.batch(images)

    def write_normalized(self, image: np.ndarray, batch: np.ndarray, position: int, mirrored: bool = False) -> None:
        """Normalize an H x W x C uint8 image, mirrored horizontally or not, into `batch[position]` (C x H x W)."""
        assert self.transforms.last is not None
        part = batch[position : position + 1]
        self.transforms.last.write(image[np.newaxis], part, batch.nbytes, mirrored=mirrored)

    def _transform(
        self, source: bytes | np.ndarray, random: np.random.Generator, key: Key
    ) -> tuple[np.ndarray, bool, bool]:
        """Return the image, whether it is normalized, and whether it is to be mirrored.

        The image is C x H x W; H x W x C bytes if it is not normalized.
        """
        transforms = self.transforms if self.cache is None else self.cache.rest
        if len(key) > SIZE:
            transforms = self.sized[key[SIZE]]
        last = transforms.last
        if last is None:
            image = transforms(source, random)
        else:
            image, mirrored = transforms.before_mirror(source, random)
            if image.dtype == np.uint8:
                return image, False, mirrored
            image = last(mirror(image) if mirrored else image, random)
        if last is not None or not transforms.channel_first:
            image = image.transpose(2, 0, 1)
        return (image if image.dtype == np.float16 else image.astype(np.float32, copy=False)), True, False


def mirror(image: np.ndarray) -> np.ndarray:
    """Return an H x W x C image mirrored horizontally."""
    return cv2.flip(image, 1).reshape(image.shape)
