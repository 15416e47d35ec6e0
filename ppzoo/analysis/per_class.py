"""Confusion counts, and precision, recall and F1 of each class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ClassScores(NamedTuple):
    """Metrics of each class, arrays of C; NaN where a metric is not defined.

    Attributes:
        precision: not defined for a class that is never predicted.
        recall: not defined for a class without images.
        f1: not defined for a class without images that is never predicted.
        support: number of images of the class; integers, never NaN.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class Weakest(NamedTuple):
    """The class with the lowest recall, and the other class that its images are predicted as most often.

    Attributes:
        label: index of the class.
        mostly: index of the other class.
        share: fraction of the images of the class that are predicted as `mostly`.
    """

    label: int
    recall: float
    mostly: int
    share: float


def count_confusion(labels: np.ndarray, predicted: np.ndarray, class_num: int) -> np.ndarray:
    """Count the pairs of (N,) class indices; return rows of (label, predicted, count) with a count above 0, sorted."""
    codes, counts = np.unique(labels.astype(np.int64) * class_num + predicted, return_counts=True)
    return np.stack([codes // class_num, codes % class_num, counts], axis=1)


def score_classes(confusion: np.ndarray, class_num: int) -> ClassScores:
    """Return the metrics of each class from what `count_confusion` returns."""
    labels, predicted, counts = confusion.T
    hit = labels == predicted
    right, support, predictions = (
        np.bincount(index, weights=weights, minlength=class_num).astype(np.int64)
        for index, weights in ((labels[hit], counts[hit]), (labels, counts), (predicted, counts))
    )
    return _scores(right, support, predictions)


def find_weakest_class(confusion: np.ndarray, class_num: int) -> Weakest | None:
    """Return the class with the lowest recall, of several the largest; None if all predictions are right."""
    labels, predicted, counts = confusion.T
    if (labels == predicted).all():
        return None
    scores = score_classes(confusion, class_num)
    recall = np.where(scores.support > 0, scores.recall, np.inf)
    weakest = int(np.lexsort((-scores.support, recall))[0])
    wrong = np.flatnonzero((labels == weakest) & (predicted != weakest))
    mostly = wrong[np.argmax(counts[wrong])]
    return Weakest(
        label=weakest,
        recall=float(recall[weakest]),
        mostly=int(predicted[mostly]),
        share=float(counts[mostly] / scores.support[weakest]),
    )


def count_label_confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Count the decisions for each label.

    Args:
        labels: (N, C) of 1, 0, and -1 for unknown labels, which are not counted.
        predicted: (N, C) of 1 and 0.

    Returns:
        Rows of (class, true positives, false positives, false negatives, true negatives).
    """
    counts = [
        ((labels == truth) & (predicted == prediction)).sum(axis=0)
        for truth, prediction in ((1, 1), (0, 1), (1, 0), (0, 0))
    ]
    return np.stack([np.arange(labels.shape[1]), *counts], axis=1)


def score_labels(label_confusion: np.ndarray) -> ClassScores:
    """Return the metrics of each label from what `count_label_confusion` returns."""
    _, right, false_positives, false_negatives, _ = label_confusion.T
    return _scores(right, right + false_negatives, right + false_positives)


def _scores(right: np.ndarray, support: np.ndarray, predictions: np.ndarray) -> ClassScores:
    """Return the metrics from three numbers for each class: of correct predictions, of images, and of predictions."""
    return ClassScores(
        precision=_ratio(right, predictions),
        recall=_ratio(right, support),
        f1=_ratio(2 * right, support + predictions),
        support=support,
    )


def _ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(part, total, out=np.full(len(part), np.nan), where=total > 0)
