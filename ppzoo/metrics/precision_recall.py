"""The precision-recall curve and average precision."""

from __future__ import annotations

import numpy as np


def precision_recall(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall with each score as the threshold, from the highest.

    Args:
        scores: (N,) scores.
        positive: (N,) booleans, at least one of them true.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_score = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = np.cumsum(positive[order])[last_of_score]
    return found / (last_of_score + 1), found / positive.sum()


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the sum of the precisions, each multiplied by the increase of recall."""
    precision, recall = precision_recall(scores, positive)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def eleven_point_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the mean of the highest precisions at a recall of at least 0, 0.1, ..., 1."""
    precision, recall = precision_recall(scores, positive)
    return float(np.mean([precision[recall >= level].max() for level in np.arange(11) / 10]))
