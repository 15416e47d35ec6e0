"""Precision over recall: of scores and of which samples are positive."""

from __future__ import annotations

import numpy as np


def precision_recall(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall where all samples of at least some score are predicted, for every score, from the highest.

    Args:
        scores: N.
        positive: N booleans, one of them true at least.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_score = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = np.cumsum(positive[order])[last_of_score]
    return found / (last_of_score + 1), found / positive.sum()


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Sum of the precisions, each by the gain of recall that comes with it."""
    precision, recall = precision_recall(scores, positive)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def eleven_point_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean of the best precisions at a recall of 0, 0.1, ..., 1 or more."""
    precision, recall = precision_recall(scores, positive)
    return float(np.mean([precision[recall >= level].max() for level in np.arange(11) / 10]))
