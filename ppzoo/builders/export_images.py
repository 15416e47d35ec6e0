"""The images that an export is checked on and calibrated with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np

from ppzoo import data, deploy
from ppzoo.builders.class_names import find_evaluation_names
from ppzoo.builders.component_factory import build_transforms, class_count
from ppzoo.builders.datasets import build_dataset
from ppzoo.config import Config
from ppzoo.errors import ConfigError, DataError, errors_with_key

logger = logging.getLogger("ppzoo")

CHECK_COUNT = 32

Source = Callable[[], bytes | np.ndarray]


def find_normalization(config: Config) -> deploy.Normalization:
    """Return the normalization of `Infer.transforms`, which an export can include.

    Raises:
        ConfigError: the transforms do not end with it and `ToCHWImage`, or it does not get uint8 images.
    """
    transforms = build_transforms(config.Infer.transforms or ())
    if transforms.last is None or not transforms.leaves_pixels:
        raise ConfigError(
            "--with-preprocessing: expected Infer.transforms that end with NormalizeImage and ToCHWImage after"
            " transforms of uint8 images, got others; export without --with-preprocessing"
        )
    return deploy.Normalization(*transforms.last.linear())


class EvaluationData:
    """The data of `DataLoader.Eval`, which is opened once, when it is first used."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def dataset(self) -> data.Dataset:
        """The dataset; the errors are those of `open_data`."""
        return open_data(self.config, "Eval")


def read_check_images(
    evaluation: EvaluationData, normalization: deploy.Normalization | None
) -> deploy.CheckImages | None:
    """Return images of the evaluation data after `Infer.transforms`; if none can be read, log why and return None.

    Args:
        normalization: see `find_normalization`; with it, the result also has the images before the normalization.
    """
    transforms = build_transforms(evaluation.config.Infer.transforms or ())
    try:
        dataset = evaluation.dataset
        sources = sources_of_dataset(dataset, CHECK_COUNT)
        return stack_images(sources, transforms, normalization, "the evaluation data")
    except (ConfigError, DataError) as error:
        logger.warning("checking the export with random numbers instead of images of the evaluation data: %s", error)
        return None


def stack_images(
    sources: Sequence[tuple[str, Source]],
    transforms: data.Compose,
    normalization: deploy.Normalization | None,
    name: str,
) -> deploy.CheckImages:
    """Read and transform images.

    Args:
        sources: for each image, its name for messages and the function that reads it.
        name: the source of all images, see `CheckImages.source`.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    images, pixels, random = [], [], np.random.default_rng(0)
    for source, read in sources:
        with errors_with_key(source):
            image: Any = read()
            if normalization is None:
                images.append(transforms(image).astype(np.float32))
                continue
            image = transforms.before_last(image, random)
            pixels.append(image)
            for transform in transforms.transforms[len(transforms.before) :]:  # the normalization, the transposition
                image = transform(image, random)
            images.append(image.astype(np.float32))
    return deploy.CheckImages(np.stack(images), np.stack(pixels) if pixels else None, name)


def evenly_spaced(length: int, count: int) -> list[int]:
    """Return at most `count` evenly spaced indices from 0 to `length` - 1."""
    return np.unique(np.linspace(0, length - 1, count).astype(int)).tolist()


def read_sample(dataset: data.Dataset, index: int, transform: Callable[..., np.ndarray]) -> np.ndarray:
    """Return an image of a dataset after a transform; float32 unless it is uint8.

    Raises:
        DataError: it cannot be read; the message names it.
    """
    try:
        image = transform(dataset[index][0])
    except DataError as error:
        raise DataError(f"{dataset.describe(index)}: {error}") from error
    return image if image.dtype == np.uint8 else image.astype(np.float32)


def open_data(config: Config, split: Literal["Train", "Eval"]) -> data.Dataset:
    """Return the dataset of `DataLoader.Train` or `DataLoader.Eval`.

    Raises:
        ConfigError: there is no such section.
        DataError: the data cannot be read.
    """
    section = config.DataLoader.Train if split == "Train" else config.DataLoader.Eval
    if section is None:
        raise ConfigError(f"DataLoader.{split}: expected data, got nothing")
    count = class_count(config.Arch)
    if split == "Train":
        return build_dataset(section.dataset, count)
    return build_dataset(section.dataset, count, find_evaluation_names(config, section.dataset), training=False)


def sources_of_dataset(dataset: data.Dataset, count: int) -> list[tuple[str, Source]]:
    """Return name and reader of at most `count` images of a dataset as they are, before transforms."""
    indices = evenly_spaced(len(dataset), count)
    return [(dataset.describe(index), partial(_read_source, dataset, index)) for index in indices]


def _read_source(dataset: data.Dataset, index: int) -> bytes | np.ndarray:
    return dataset[index][0]
