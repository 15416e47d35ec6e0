"""The images that an export is checked on and calibrated with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np

from ppzoo import data, deploy
from ppzoo.builders.class_names import find_evaluation_names
from ppzoo.builders.components import build_transforms
from ppzoo.builders.data_loading import build_dataset
from ppzoo.builders.models import class_count
from ppzoo.config import Config
from ppzoo.errors import ConfigError, DataError

logger = logging.getLogger("ppzoo")

CHECK_COUNT = 32  # images of the evaluation data, evenly spread


def find_normalization(config: Config) -> deploy.Normalization:
    """Return the normalization of `Infer.transforms`, which an export can include.

    Raises:
        ConfigError: the transforms do not end with it.
    """
    transforms = build_transforms(config.Infer.transforms or ())
    if transforms.last is None or not transforms.leaves_pixels:
        raise ConfigError(
            "--with-preprocessing: expected Infer.transforms that end with NormalizeImage and ToCHWImage after"
            " transforms of uint8 images, got others; export without it"
        )
    return deploy.Normalization(*transforms.last.linear())


def read_check_images(config: Config, normalization: deploy.Normalization | None) -> deploy.CheckImages | None:
    """Return images of the evaluation data after `Infer.transforms`; None, which is logged, if there are none.

    Args:
        normalization: see `find_normalization`; the images before it are then included.
    """
    transforms = build_transforms(config.Infer.transforms or ())
    images, pixels = [], []
    try:
        dataset = _open_evaluation_data(config)
        for index in np.unique(np.linspace(0, len(dataset) - 1, CHECK_COUNT).astype(int)).tolist():
            images.append(_read(dataset, index, transforms))
            if normalization is not None:
                pixels.append(_read(dataset, index, partial(transforms.before_last, random=np.random.default_rng(0))))
    except (ConfigError, DataError) as error:
        logger.warning("checking the export with random numbers instead of images of the evaluation data: %s", error)
        return None
    return deploy.CheckImages(np.stack(images), np.stack(pixels) if pixels else None, "the evaluation data")


def _read(dataset: data.Dataset, index: int, transform: Callable[..., np.ndarray]) -> np.ndarray:
    """Return an image of a dataset after a transform; float32 unless it is uint8.

    Raises:
        DataError: it cannot be read; the message names it.
    """
    try:
        image = transform(dataset[index][0])
    except DataError as error:
        raise DataError(f"{dataset.describe(index)}: {error}") from error
    return image if image.dtype == np.uint8 else image.astype(np.float32)


def _open_evaluation_data(config: Config) -> data.Dataset:
    """Return the dataset of `DataLoader.Eval`.

    Raises:
        ConfigError: there is no such section.
        DataError: the data cannot be read.
    """
    split = config.DataLoader.Eval
    if split is None:
        raise ConfigError("DataLoader.Eval: expected the evaluation data, got nothing")
    names = find_evaluation_names(config, split.dataset)
    return build_dataset(split.dataset, class_count(config.Arch), names, training=False)
