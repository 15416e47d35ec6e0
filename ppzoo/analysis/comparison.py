"""The exact McNemar test: whether two networks differ in accuracy on the same images by more than chance."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class McNemar(NamedTuple):
    """Result of the test.

    Attributes:
        only_first, only_second: number of images that only the first and only the second network predicts right.
        p_value: probability of a difference at least that large if both networks are equally accurate.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Test whether two networks are equally accurate on the same N images; two-sided, with the binomial distribution.

    McNemar: "Note on the sampling error of the difference between correlated proportions or percentages", Psychometrika
    12, 1947.

    Args:
        first, second: (N,) whether each network predicts each image right.

    Raises:
        ValueError: the arrays have different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"expected predictions of the same images, got {len(first)} and {len(second)}")
    first, second = first.astype(bool), second.astype(bool)
    counts = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(*counts, _two_sided(*counts))


def _two_sided(one: int, other: int) -> float:
    """Return twice the probability of at most `min(one, other)` heads in `one + other` fair coin tosses, at most 1."""
    total, fewer = one + other, min(one, other)
    steps = np.arange(1, fewer + 1, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log(total - steps + 1) - np.log(steps))])  # log(total choose 0 to fewer)
    largest = float(logs.max())
    log_sum = largest + math.log(float(np.exp(logs - largest).sum()))
    return min(1.0, 2 * math.exp(min(0.0, log_sum - total * math.log(2))))
