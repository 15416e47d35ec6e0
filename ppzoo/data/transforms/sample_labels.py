"""Labels that transforms set: what a transform did to an image is then what the network has to recognize."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ppzoo.errors import ConfigError

LABEL_KEYS = {"blur_image": 2, "random_rot90_orientation": 4}
"""PaddleClas's keys of these labels, and their numbers of classes."""


class LabelingGenerator(np.random.Generator):
    """A generator for the transforms of one sample, which also collects their labels.

    It draws the same numbers as `np.random.default_rng(seed)`.

    Attributes:
        labels: key in `LABEL_KEYS` -> class.
    """

    def __init__(self, seed: int | tuple[int, ...]) -> None:
        super().__init__(np.random.PCG64(seed))
        self.labels: dict[str, int] = {}


def set_label(random: np.random.Generator, key: str, label: int) -> None:
    """Record the label of a sample, if labels are collected."""
    if isinstance(random, LabelingGenerator):
        random.labels[key] = label


def require_label(key: str | None, transforms: Iterable[object], *, option: str = "dataset.label_key") -> None:
    """Check that one of the transforms sets the label `key`; without a key, check nothing.

    Args:
        option: the configuration key that `key` is the value of, for messages.

    Raises:
        ConfigError: no transform sets it.
    """
    known = {getattr(transform, "label_key", None) for transform in transforms} - {None}
    if key is not None and key not in known:
        found = ", ".join(sorted(map(str, known))) or "none that sets a label"
        raise ConfigError(f"{option}: expected a transform in transform_ops that sets {key!r}, got {found}")
