"""From probabilities to answers, with PaddleClas's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppzoo.errors import ConfigError
from ppzoo.registry import Registry

POSTPROCESSES: Registry[type] = Registry("postprocess")


@POSTPROCESSES.register
class Topk:
    """The `topk` most probable classes of each image, the best first.

    Args:
        topk: how many, at least 1; all of them where there are fewer.
        labels: class index -> name; the index itself stands for a class without one.

    Raises:
        ConfigError: `topk` out of its range.
    """

    def __init__(self, *, topk: int = 5, labels: Mapping[int, str] | None = None) -> None:
        if topk < 1:
            raise ConfigError(f"topk: expected at least 1, received {topk}")
        self.topk = topk
        self.labels = labels or {}

    def __call__(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """`class_ids`, `scores` and `label_names` of each row of N x class_num."""
        return [self._answer(row) for row in probabilities]

    def _answer(self, row: np.ndarray) -> dict[str, Any]:
        best = _largest(row, min(self.topk, len(row)))
        ids = best.tolist()
        names = [self.labels.get(index, str(index)) for index in ids]
        return {"class_ids": ids, "scores": row[best].tolist(), "label_names": names}


def _largest(row: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` largest are, the largest first and the first first among equals, without sorting all of them."""
    falling = -row
    limit = np.partition(falling, count - 1)[count - 1]
    candidates = np.flatnonzero(~(falling > limit))
    return candidates[np.argsort(falling[candidates], kind="stable")[:count]]


def of_settings(section: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of the post-processing in the section `PostProcess` of an `inference.yml`.

    The label names are among the options, as "label_list".

    Raises:
        KeyError: there is none.
    """
    for name, options in section.items():
        if name in POSTPROCESSES:
            return name, {**options, "label_list": options["label_list"]}
    raise KeyError(next(iter(POSTPROCESSES)))
