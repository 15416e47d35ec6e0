"""The images that a person should see first, and how accuracy grows when uncertain predictions are left to a person."""

from __future__ import annotations

import numpy as np

from ppzoo.analysis.predictions import Predictions

COVERAGE_POINTS = 50


def highest_loss(predictions: Predictions, count: int) -> np.ndarray:
    """Return the positions of the images with the highest loss, the highest first."""
    return np.argsort(-predictions.loss, kind="stable")[:count]


def least_confident(predictions: Predictions, count: int) -> np.ndarray:
    """Return the positions of the images with the lowest confidence, the lowest first."""
    return np.argsort(predictions.confidence, kind="stable")[:count]


def confidently_wrong(predictions: Predictions, count: int) -> np.ndarray:
    """Return the positions of the wrong predictions with the highest confidence, the highest first."""
    wrong = np.flatnonzero(~predictions.right)
    return wrong[np.argsort(-predictions.confidence[wrong], kind="stable")[:count]]


def coverage_curve(predictions: Predictions, points: int = COVERAGE_POINTS) -> list[dict[str, float]]:
    """Return the accuracy of the predictions whose confidence is at least a threshold, for up to `points` thresholds.

    Each point has "threshold", "accuracy", and "coverage": the fraction of the images that reach the threshold. The
    points are in the order of falling coverage.
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    confidence = predictions.confidence[order]
    right = np.cumsum(predictions.right[order])
    total = len(order)
    requested = np.unique(np.ceil(np.arange(1, points + 1) * total / points).astype(np.int64))
    # Images of equal confidence reach the threshold together.
    counts = np.unique(np.searchsorted(-confidence, -confidence[requested - 1], side="right"))
    return [
        {
            "coverage": float(count / total),
            "threshold": float(confidence[count - 1]),
            "accuracy": float(right[count - 1] / count),
        }
        for count in counts[::-1]
    ]
