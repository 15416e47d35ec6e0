"""`class_weights: balanced`: weights of the classes from the training labels, for the losses of a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ppzoo import data
from ppzoo.builders.class_checks import list_class_names
from ppzoo.builders.class_names import find_weights
from ppzoo.builders.datasets import TRAIN_DATA
from ppzoo.config import Config, LossConfig, LossTermConfig, if_accepted, list_items, load
from ppzoo.errors import ConfigError
from ppzoo.files import RUN_CONFIG
from ppzoo.losses import BALANCED

logger = logging.getLogger("ppzoo")

OPTION = "class_weights"


def balance_classes(config: Config, images: data.Dataset, class_num: int) -> Config:
    """Return the configuration of a training, with numbers where a loss has `class_weights: balanced`.

    Raises:
        ConfigError: the training images can have several labels each.
    """
    paths = _balanced_losses(config)
    if not paths:
        return config
    if images.labels.ndim > 1:
        raise ConfigError(
            f"{paths[0]}.{OPTION}: expected a list of numbers, since the images of {TRAIN_DATA} can have several labels"
            f" each, got {BALANCED!r}, which needs one label per image"
        )
    weights = balanced_weights(images.labels, class_num)
    shown = data.format_names([f"{weight:.4g}" for weight in weights])
    unused = list_class_names(images, [index for index, weight in enumerate(weights) if not weight])
    note = f"; 0 for classes without training images: {data.format_names(unused)}" if unused else ""
    logger.info("%s balanced: %s%s", OPTION, shown, note)
    train = _replace_balanced("Train", config.Loss.Train, lambda path: weights)
    return replace(
        config, Loss=LossConfig(Train=train, Eval=_replace_balanced("Eval", config.Loss.Eval, lambda path: weights))
    )


def balanced_weights(labels: np.ndarray, class_num: int) -> list[float]:
    """Return the weight n / (k n_c) of each class c: n labels, n_c of them in class c, k classes with labels.

    The weight of a class without labels is 0; labels below 0 are not counted.
    These are scikit-learn's weights for `class_weight="balanced"`.
    """
    counts = np.bincount(labels[labels >= 0], minlength=class_num)
    present = np.count_nonzero(counts)
    return [float(counts.sum() / (present * count)) if count else 0.0 for count in counts]


def balance_as_trained(config: Config) -> Config:
    """Return the configuration with the numbers in the run's config.yaml instead of `balanced` in `Loss.Eval`.

    Raises:
        ConfigError: there is no such file next to the weights, or it has no numbers for a loss.
    """
    if not _balanced_losses(config):
        return config
    weights = find_weights(config)
    file = Path(weights).parent / RUN_CONFIG if weights else None
    raw = load(file) if file and os.path.isfile(file) else {}
    losses = list_items(raw, "Loss.Eval")
    trained = {path: if_accepted(options.get(OPTION), list[float]) for path, _, options in losses}

    def numbers_of(path: str) -> list[float]:
        numbers = trained.get(path)
        if numbers is None:
            no_run = f"there is no {RUN_CONFIG} of a run next to the weights"
            missing = f"{file} has no numbers for it" if raw else no_run
            raise ConfigError(
                f"{path}.{OPTION}: expected a list of numbers, since the training labels are unknown ({missing}), got"
                f" {BALANCED!r}"
            )
        return numbers

    return replace(config, Loss=replace(config.Loss, Eval=_replace_balanced("Eval", config.Loss.Eval, numbers_of)))


def drop_balanced(terms: Sequence[LossTermConfig]) -> list[LossTermConfig]:
    """Return the losses without `balanced`, to build them before the training labels are known."""
    return [_with_weights(term, None) if _is_balanced(term) else term for term in terms]


def _balanced_losses(config: Config) -> list[str]:
    """Return the paths of the losses with `class_weights: balanced`."""
    return [
        _path_of(split, index, term)
        for split, terms in (("Train", config.Loss.Train), ("Eval", config.Loss.Eval))
        for index, term in enumerate(terms or ())
        if _is_balanced(term)
    ]


def _is_balanced(term: LossTermConfig) -> bool:
    return isinstance(term.spec.options.get(OPTION), str)


def _with_weights(term: LossTermConfig, weights: list[float] | None) -> LossTermConfig:
    return replace(term, spec=replace(term.spec, options={**term.spec.options, OPTION: weights}))


def _path_of(split: str, index: int, term: LossTermConfig) -> str:
    return f"Loss.{split}.{index}.{term.spec.name}"


def _replace_balanced(
    split: str, terms: tuple[LossTermConfig, ...] | None, weights_of: Callable[[str], list[float]]
) -> tuple[LossTermConfig, ...] | None:
    """Replace `balanced` in the losses of a split by the weights that `weights_of` returns for the path of the loss."""
    if terms is None:
        return None
    return tuple(
        _with_weights(term, weights_of(_path_of(split, index, term))) if _is_balanced(term) else term
        for index, term in enumerate(terms)
    )
