"""Calibration of predicted probabilities: reliability bins, expected calibration error, temperature scaling.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

BinSums: TypeAlias = dict[str, np.ndarray]
"""Per bin: "samples" (their number), and the sums of "confidence" and of "right" (0 or 1)."""

EXACT = 2.0**-30  # probabilities are rounded to multiples of it; float64 sums 8 million of these without rounding
BINS = 15

TEMPERATURES = (0.01, 100.0)  # the search range
MAX_EVALUATIONS, RELATIVE_STEP = 60, 1e-6  # limits that end the search
CHUNK_VALUES = 1 << 16  # number of scores that are converted to float64 together


def bin_confidences(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> BinSums:
    """Sort N confidences into bins of equal width, and return the sums of each bin.

    A bin contains the confidences above its lower edge and up to its upper edge. A confidence that differs from an edge
    only by the rounding of float32 scores counts as equal to it.

    Args:
        confidence: (N,) probabilities.
        right: (N,) whether each prediction is right; with several labels per image, whether each label is 1.
    """
    # Sums of multiples of EXACT are exact, so they do not depend on the order of batches and processes.
    confidence = (confidence.astype(np.float64) / EXACT).round() * EXACT
    index = np.clip(np.ceil((confidence * bins).round(5)).astype(np.int64) - 1, 0, bins - 1)
    values = {"samples": np.ones(len(confidence)), "confidence": confidence, "right": right}
    return {name: np.bincount(index, weights=value, minlength=bins) for name, value in values.items()}


def calibration_error(sums: BinSums) -> float:
    """Return the expected calibration error (equation 3): the mean of |confidence - accuracy| of the images' bins."""
    return float(np.abs(sums["right"] - sums["confidence"]).sum() / sums["samples"].sum())


def describe_bins(sums: BinSums) -> list[dict[str, Any]]:
    """Return edges, count, mean confidence and accuracy of each bin; the last two are None in an empty bin."""
    bins = len(sums["samples"])
    described = []
    for index in range(bins):
        count = int(sums["samples"][index])
        means = {
            key: float(sums[name][index] / count) if count else None
            for key, name in (("confidence", "confidence"), ("accuracy", "right"))
        }
        described.append({"lower": index / bins, "upper": (index + 1) / bins, "count": count, **means})
    return described


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the temperature by which scores are divided to minimize the mean negative log likelihood of the labels.

    The likelihood is log-concave in 1 / temperature, so its derivative has at most one zero. It is found by Newton's
    method, which falls back to bisection where a step leaves the bracket. This takes a few MB of memory.

    Args:
        scores: (N, C) logits.
        labels: (N,) class indices; or (N, C) of 1, 0 and -1 (unknown), where each score is that of a separate decision.

    Returns:
        None if the minimum is not between 0.01 and 100, as when all predictions are right, or if N is 0.
    """
    derivatives = _label_derivatives if labels.ndim == 2 else _class_derivatives

    def evaluate(inverse: float) -> tuple[float, float]:
        slope = curvature = 0.0
        for part in _chunks(scores):
            first, second = derivatives(scores[part].astype(np.float64), labels[part], inverse)
            slope, curvature = slope + first, curvature + second
        return slope, curvature

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if not len(scores) or evaluate(low)[0] >= 0 or evaluate(high)[0] <= 0:
        return None
    return 1 / _find_zero(evaluate, low, high)


def _find_zero(evaluate: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Return the zero, between `low` and `high`, of an increasing function; `evaluate` returns value and derivative."""
    current = 1.0
    for _ in range(MAX_EVALUATIONS):
        value, derivative = evaluate(current)
        low, high = (current, high) if value < 0 else (low, current)
        following = current - value / derivative if derivative > 0 else low
        if not low < following < high:
            following = float(np.sqrt(low * high))
        if abs(following - current) <= RELATIVE_STEP * current:
            return following
        current = following
    return current


def scaled_bins(scores: np.ndarray, labels: np.ndarray, temperature: float, bins: int = BINS) -> BinSums:
    """Return the sums of `bin_confidences` for scores that are divided by a temperature; see `fit_temperature`."""
    total: BinSums = {name: np.zeros(bins) for name in ("samples", "confidence", "right")}
    for part in _chunks(scores):
        scaled = scores[part].astype(np.float64) / temperature
        if labels.ndim == 2:
            known = labels[part] >= 0
            sums = bin_confidences(sigmoid(scaled[known]), labels[part][known] == 1, bins)
        else:
            confidence = 1 / np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)
            sums = bin_confidences(confidence, scaled.argmax(axis=1) == labels[part], bins)
        total = {name: total[name] + sums[name] for name in total}
    return total


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-scores)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * scores))


def _chunks(scores: np.ndarray) -> Iterator[slice]:
    rows = max(1, CHUNK_VALUES // max(1, scores.shape[1]))
    return (slice(start, start + rows) for start in range(0, len(scores), rows))


def _class_derivatives(scores: np.ndarray, labels: np.ndarray, inverse: float) -> tuple[float, float]:
    """Return the first and second derivative by `inverse` of the summed cross entropy of `inverse * scores`."""
    scores = scores - scores.max(axis=1, keepdims=True)
    weights = np.exp(inverse * scores)
    total = weights.sum(axis=1)
    weights *= scores
    mean = weights.sum(axis=1) / total
    square = np.einsum("ij,ij->i", weights, scores) / total
    return float((mean - scores[np.arange(len(labels)), labels]).sum()), float((square - mean**2).sum())


def _label_derivatives(scores: np.ndarray, labels: np.ndarray, inverse: float) -> tuple[float, float]:
    """Return the same as `_class_derivatives`, but for the binary cross entropy of the known labels."""
    known = labels >= 0
    values, truth = scores[known], labels[known]
    probabilities = sigmoid(inverse * values)
    curvature = (probabilities * (1 - probabilities) * values**2).sum()
    return float(((probabilities - truth) * values).sum()), float(curvature)
