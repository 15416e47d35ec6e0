"""Samples: the images of a dataset after their transforms, with labels.

A sample depends on the seed, the epoch and its index only, not on its position in the epoch or the number of worker
processes. So runs are reproducible, and can resume in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppzoo.data.cache import CachedImages
from ppzoo.data.datasets import Dataset
from ppzoo.data.transforms import Compose
from ppzoo.data.transforms.sample_labels import LabelingGenerator, require_label
from ppzoo.errors import DataError

Key = tuple[int, ...]
"""Epoch and index of a sample; then the number of its copy, if not 0, where a sampler repeats samples in an epoch."""


@dataclass(slots=True)
class Sample:
    """image: C x H x W, C-contiguous, float32 (float16 if the transforms make that); index: int64.

    label: int64; float32 with one value per class if an image can have several labels.
    normalized: False if `image` is H x W x C bytes that are still to be normalized (`Samples.normalize`).
    """

    image: np.ndarray
    label: np.int64 | np.ndarray
    index: np.int64
    normalized: bool = True


class Samples:
    """The transformed samples of a dataset, by (epoch, index).

    Args:
        transforms: applied to each image; a result of H x W x C is transposed.
        seed: seeds, with epoch and index, the random transforms.
        cache: the same images after the first of the same transforms; the samples are bit-identical with it.
    """

    def __init__(self, dataset: Dataset, transforms: Compose, seed: int, cache: CachedImages | None = None) -> None:
        self.dataset, self.transforms, self.seed, self.cache = dataset, transforms, seed, cache
        self.transform_label: str | None = getattr(dataset, "transform_label", None)
        require_label(self.transform_label, transforms.transforms)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Sample:
        """Return the sample of (epoch, index).

        Raises:
            DataError: the image is missing or broken, or a transform cannot process it; names the file.
        """
        sample = self.read(key)
        if sample.normalized:
            return sample
        return replace(sample, image=self.normalize(sample.image[np.newaxis])[0], normalized=True)

    def generators(self, keys: Sequence[Key]) -> list[np.random.Generator]:
        """Return the generators of some samples: created one after the other, they take a quarter of the time."""
        create = np.random.default_rng if self.transform_label is None else LabelingGenerator
        return [create((self.seed, *key)) for key in keys]

    def read(self, key: Key, random: np.random.Generator | None = None) -> Sample:
        """The sample but for the normalization, where that is the last transform: a quarter of the bytes.

        Args:
            random: the generator of the sample, if it has been created.

        Raises:
            DataError: as above.
        """
        index = key[1]
        random = random or self.generators([key])[0]
        source, label = self.dataset[index] if self.cache is None else self.cache[index]
        try:
            image, normalized = self._transform(source, random)
        except DataError as error:
            raise DataError(f"{self.dataset.describe(index)}: {error}") from error
        if isinstance(random, LabelingGenerator):
            label = random.labels[str(self.transform_label)]
        target = label if isinstance(label, np.ndarray) else np.int64(label)
        return Sample(np.ascontiguousarray(image), target, np.int64(index), normalized)

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Normalize a batch of N x H x W x C bytes to N x C x H x W."""
        assert self.transforms.last is not None
        return self.transforms.last.batch(images)

    def write_normalized(self, image: np.ndarray, batch: np.ndarray, position: int) -> None:
        """Normalize H x W x C bytes into a position of a batch of N x C x H x W."""
        assert self.transforms.last is not None
        self.transforms.last.write(image[np.newaxis], batch[position : position + 1], batch.nbytes)

    def _transform(self, source: bytes | np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, bool]:
        """Return the image and whether it is normalized: C x H x W, or H x W x C bytes if it is not."""
        transforms = self.transforms if self.cache is None else self.cache.rest
        last = transforms.last
        if last is None:
            image = transforms(source, random)
        else:
            image = transforms.before_last(source, random)
            if image.dtype == np.uint8:
                return image, False
            image = last(image, random)
        if last is not None or not transforms.channel_first:
            image = image.transpose(2, 0, 1)
        return (image if image.dtype == np.float16 else image.astype(np.float32, copy=False)), True
