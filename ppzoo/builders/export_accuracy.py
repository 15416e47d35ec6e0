"""The accuracy of exported models on the evaluation data, for exports in a lower precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from ppzoo import data, deploy
from ppzoo.builders.component_factory import build_transforms
from ppzoo.builders.export_images import (
    EvaluationData,
    evenly_spaced,
    open_data,
    read_sample,
    sources_of_dataset,
    stack_images,
)
from ppzoo.builders.inference import find_images
from ppzoo.config import Config
from ppzoo.errors import ConfigError, errors_with_key
from ppzoo.files import read_plain_file
from ppzoo.host import usable_cores
from ppzoo.progress import track

CALIBRATION_COUNT = 300
BATCH = 32


def lower_precision(
    evaluation: EvaluationData,
    precision: str,
    normalization: deploy.Normalization | None,
    calibration: str | None,
    max_drop: float,
) -> deploy.LowerPrecision:
    """Build what `deploy.export_formats` needs to add a lower precision.

    Args:
        calibration: a folder of images; by default images of the training data are used.

    Raises:
        ConfigError: the network predicts several labels per image, there is no evaluation data, or the
            processor does not have that precision.
        DataError: the evaluation or calibration data cannot be read.
    """
    config = evaluation.config
    if config.Global.use_multilabel:
        raise ConfigError(f"--precision {precision}: expected a network that predicts one class per image, got several")
    if precision == "bfloat16":
        deploy.require_bfloat16()
    dataset, images = evaluation.dataset, None
    if precision == "int8":
        images = _read_calibration_images(config, normalization, calibration)
    return deploy.LowerPrecision(precision, images, partial(_evaluate, config, dataset, normalization), max_drop)


def _read_calibration_images(
    config: Config, normalization: deploy.Normalization | None, folder: str | None
) -> deploy.CheckImages:
    transforms = build_transforms(config.Infer.transforms or ())
    if folder is None:
        dataset = open_data(config, "Train")
        sources = sources_of_dataset(dataset, CALIBRATION_COUNT)
        return stack_images(sources, transforms, normalization, "the training data")
    files = find_images([folder], key="--calibration")
    chosen = [files[index] for index in evenly_spaced(len(files), CALIBRATION_COUNT)]
    with errors_with_key("--calibration"):
        sources = [(str(file), partial(read_plain_file, file)) for file in chosen]
        return stack_images(sources, transforms, normalization, str(folder))


def _evaluate(
    config: Config,
    dataset: data.Dataset,
    normalization: deploy.Normalization | None,
    engines: Mapping[str, deploy.Engine],
) -> dict[str, float]:
    """Return the top-1 accuracy of each engine on a dataset."""
    transforms = build_transforms(config.Infer.transforms or ())
    transform: Callable[..., np.ndarray] = transforms
    if normalization is not None:
        transform = partial(transforms.before_last, random=np.random.default_rng(0))
    correct = dict.fromkeys(engines, 0)
    starts = range(0, len(dataset), BATCH)
    with ThreadPoolExecutor(usable_cores()) as threads:
        for start in track(starts, len(starts), "evaluating"):
            indices = range(start, min(start + BATCH, len(dataset)))
            images = np.stack(list(threads.map(partial(read_sample, dataset, transform=transform), indices)))
            labels = dataset.labels[start : start + BATCH]
            for name, engine in engines.items():
                probabilities = deploy.run_engine(engine, images, images)[0]
                correct[name] += int((probabilities.argmax(1) == labels).sum())
    return {name: count / len(dataset) for name, count in correct.items()}
