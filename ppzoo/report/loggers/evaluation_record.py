"""Confusion matrix, wrong images and precision-recall curves of an evaluation, which loggers show."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppzoo.analysis import true_classes
from ppzoo.report.loggers.base import PRCurve

MAX_MATRIX_CLASSES = 1000  # 8 MB of counts
MAX_CURVE_CLASSES = 20  # with more classes, there is only the curve of all classes together
WRONG_IMAGES = 24
THRESHOLDS = 127  # of a curve: VisualDL's maximum


@dataclass(order=True, frozen=True)
class WrongImage:
    """An image that was predicted wrongly, with the probability of the predicted class, by which images are ordered."""

    probability: float
    index: int
    label: int
    predicted: int
    pixels: np.ndarray = field(compare=False)


class EvaluationRecord:
    """Accumulates the batches of an evaluation; the evaluator calls `reset`, `update`, `state` and `merge`.

    Args:
        class_num: number of classes.
        multi_label: labels are N x C, or N x rows x C of which the first row is used, with 1, 0, or a value below 0 for
            unknown; there are precision-recall curves only.
        select: returns the class scores, N x C, from the network's output.
        to_pixels: returns an H x W x 3 uint8 image from one of the network's input, C x H x W.

    Attributes:
        matrix: number of images by class (row) and predicted class; None for several labels or too many classes.
        wrong: the most confidently wrong images, in no particular order.
    """

    def __init__(
        self,
        class_num: int,
        *,
        multi_label: bool,
        select: Callable[[Any], Any],
        to_pixels: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self.class_num, self.multi_label, self.select, self.to_pixels = class_num, multi_label, select, to_pixels
        self.reset()

    def reset(self) -> None:
        has_matrix = not self.multi_label and self.class_num <= MAX_MATRIX_CLASSES
        self.matrix = np.zeros((self.class_num, self.class_num), np.int64) if has_matrix else None
        curves = self.class_num if self.class_num <= MAX_CURVE_CLASSES else 1
        self.positive, self.negative = np.zeros((2, curves, THRESHOLDS), np.int64)
        self.wrong: list[WrongImage] = []

    def update(self, output: Any, batch: Any) -> None:
        """Add a batch of images, labels and indices, and the network's output for it."""
        scores = self.select(output).detach().astype("float32").numpy()
        labels = batch.labels.numpy()
        if self.multi_label:
            values = labels[:, 0] if labels.ndim == 3 else labels
            self._count_thresholds(1 / (1 + np.exp(-np.clip(scores, -80, 80))), values > 0.5, values >= 0)
            return
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        labels = true_classes(labels, self.class_num)
        known = (labels >= 0) & (labels < self.class_num)
        truth = np.arange(self.class_num) == labels[:, np.newaxis]
        self._count_thresholds(probabilities, truth, np.broadcast_to(known[:, np.newaxis], truth.shape))
        predicted = probabilities.argmax(axis=1)
        if self.matrix is not None:
            np.add.at(self.matrix, (labels[known], predicted[known]), 1)
        wrong = np.flatnonzero(known & (predicted != labels))
        self._add_wrong(batch, wrong, probabilities[wrong].max(axis=1), labels[wrong], predicted[wrong])

    def _count_thresholds(self, probabilities: np.ndarray, truth: np.ndarray, known: np.ndarray) -> None:
        bins = (probabilities * (THRESHOLDS - 1)).astype(np.int64)
        if len(self.positive) > 1:
            bins += np.arange(len(self.positive)) * THRESHOLDS
        for counts, chosen in ((self.positive, known & truth), (self.negative, known & ~truth)):
            counts += np.bincount(bins[chosen], minlength=counts.size).reshape(counts.shape)

    def _add_wrong(
        self, batch: Any, positions: np.ndarray, confidences: np.ndarray, labels: np.ndarray, predicted: np.ndarray
    ) -> None:
        """Keep those images of a batch, at `positions` in it, that are among the most confidently wrong ones."""
        import paddle

        lowest = self.wrong[0].probability if len(self.wrong) == WRONG_IMAGES else -1.0
        most = np.argsort(-confidences, kind="stable")[:WRONG_IMAGES]
        chosen = [int(number) for number in most if confidences[number] > lowest]
        if not chosen:
            return
        # Gather all chosen images first: `numpy` of a single image of a batch would copy the whole batch.
        images = batch.images.gather(paddle.to_tensor(positions[chosen])).astype("float32").numpy()
        indices = batch.indices.numpy()
        for number, image in zip(chosen, images, strict=True):
            probability, index = float(confidences[number]), int(indices[positions[number]])
            if len(self.wrong) == WRONG_IMAGES and probability <= self.wrong[0].probability:
                return
            pixels = self.to_pixels(image)
            found = WrongImage(probability, index, int(labels[number]), int(predicted[number]), pixels)
            (heapq.heappush if len(self.wrong) < WRONG_IMAGES else heapq.heapreplace)(self.wrong, found)

    def state(self) -> dict[str, Any]:
        """Return what was accumulated, for another process."""
        return {"matrix": self.matrix, "positive": self.positive, "negative": self.negative, "wrong": self.wrong}

    def merge(self, states: list[dict[str, Any]]) -> None:
        """Replace what was accumulated by the states of all processes."""
        self.reset()
        for state in states:
            if self.matrix is not None:
                self.matrix += state["matrix"]
            self.positive += state["positive"]
            self.negative += state["negative"]
            self.wrong = heapq.nlargest(WRONG_IMAGES, [*self.wrong, *state["wrong"]])

    def most_wrong(self) -> list[WrongImage]:
        """Return the most confidently wrong images, the most confident one first."""
        return sorted(self.wrong, key=lambda image: (-image.probability, image.index))

    def curves(self) -> dict[int | None, PRCurve]:
        """Return the precision-recall curve of all classes together (None), and those of single classes.

        A class without positive samples has no curve.
        """
        found: dict[int | None, PRCurve] = {None: _curve(self.positive.sum(axis=0), self.negative.sum(axis=0))}
        if len(self.positive) > 1:
            pairs = enumerate(zip(self.positive, self.negative, strict=True))
            found |= {index: _curve(*counts) for index, counts in pairs if counts[0].any()}
        return found


def _curve(positive: np.ndarray, negative: np.ndarray) -> PRCurve:
    """Return the curve from the numbers of positive and negative samples whose score is between two thresholds."""
    tp, fp = (counts[::-1].cumsum()[::-1] for counts in (positive, negative))
    return PRCurve(tp, fp, fp[0] - fp, tp[0] - tp)
