"""The predictions of an evaluation, image by image.

Of each image, the index, labels, prediction, two probabilities, loss and correctness are kept. To fit the temperature,
scores are kept as float32: those of all images if these are at most 67 million values (50,000 images of 1,000 classes
take 200 MB), otherwise those of evenly spaced images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppzoo.analysis.calibration import BinSums, bin_confidences, sigmoid

MAX_KEPT_SCORES = 1 << 26


@dataclass(frozen=True)
class Predictions:
    """The predictions for N images, in the order of the dataset.

    Attributes:
        indices: (N,) index of each image in the dataset.
        labels: (N,) class indices; (N, C) of 1, 0 and -1 (unknown) if images can have several labels.
        predicted: (N,) the class with the highest score; (N, C) of 1 (probability above 0.5) and 0.
        confidence: (N,) probability of the prediction; with several labels, the lowest of the C predictions.
        label_confidence: (N,) probability of the label; with several labels, the lowest of the known labels.
        loss: (N,) cross entropy; with several labels, the mean binary cross entropy of the known labels.
        right: (N,) whether the prediction is right; with several labels, the predictions of all known labels.
        bins: sums of `bin_confidences` over the images; with several labels, over the known labels, whose confidence is
            the probability that the label is 1.
        kept: positions, in the arrays above, of the images whose scores are kept.
        scores: (len(kept), C) logits up to a constant per image; with several labels, logits.
    """

    class_num: int
    indices: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    label_confidence: np.ndarray
    loss: np.ndarray
    right: np.ndarray
    bins: BinSums
    kept: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def multi_label(self) -> bool:
        return self.labels.ndim == 2


class PredictionRecorder:
    """Collects the predictions of an evaluation, batch by batch.

    Args:
        class_num: number of classes.
        images: number of images in the dataset.
        multi_label: images can have several labels.
    """

    def __init__(self, class_num: int, images: int, *, multi_label: bool = False) -> None:
        self.class_num, self.multi_label = class_num, multi_label
        self._stride = -(-images * class_num // MAX_KEPT_SCORES) or 1
        self._batches: list[dict[str, np.ndarray]] = []
        self._scores = np.empty((-(-images // self._stride), class_num), np.float32)  # by index // stride
        self._bins: BinSums = {}

    def add(self, indices: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch.

        Args:
            indices: (N,) indices of the images in the dataset.
            scores: (N, C) logits.
            labels: (N,) or (N, 1) class indices, or (N, C) probabilities of the classes, of which the most probable
                counts; with several labels, (N, C) of 1, 0 and values below 0 (unknown), or (N, 2, C), whose first
                row is used.
        """
        record = self._label_records if self.multi_label else self._class_records
        logits, columns, bins = record(scores.astype(np.float64), labels)
        keeps = indices % self._stride == 0
        self._scores[indices[keeps] // self._stride] = logits[keeps]
        self._batches.append({"indices": indices, **columns})
        self._bins = {name: self._bins.get(name, 0) + value for name, value in bins.items()}

    def finish(self) -> Predictions:
        """Return the predictions of all batches, of which there must be one or more."""
        columns = {name: np.concatenate([batch[name] for batch in self._batches]) for name in self._batches[0]}
        self._batches = []
        order = np.argsort(columns["indices"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        indices, first = np.unique(columns["indices"], return_index=True)
        keeps = indices % self._stride == 0
        rows, kept = indices[keeps] // self._stride, first[keeps]
        scores = self._scores if len(rows) == len(self._scores) else self._scores[rows]
        return Predictions(class_num=self.class_num, bins=self._bins, kept=kept, scores=scores, **columns)

    def _class_records(
        self, scores: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray], BinSums]:
        rows = np.arange(len(scores))
        predicted = scores.argmax(axis=1)
        truth = true_classes(labels, self.class_num)
        logits = scores - scores.max(axis=1, keepdims=True)
        total = np.exp(logits).sum(axis=1)
        confidence, loss = 1 / total, np.log(total) - logits[rows, truth]
        columns = {
            "labels": truth,
            "predicted": predicted,
            "confidence": confidence,
            "label_confidence": np.exp(-loss),
            "loss": loss,
            "right": predicted == truth,
        }
        return logits, columns, bin_confidences(confidence, columns["right"])

    def _label_records(
        self, scores: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray], BinSums]:
        values = labels[:, 0] if labels.ndim == 3 else labels
        truth = np.where(values < 0, -1, values > 0.5).astype(np.int8)
        known = truth >= 0
        predicted = (scores > 0).astype(np.int8)
        signed = np.where(truth == 1, scores, -scores)  # above 0 for a correct decision
        losses = np.where(known, np.logaddexp(0, -signed), 0).sum(axis=1)
        columns = {
            "labels": truth,
            "predicted": predicted,
            "confidence": sigmoid(np.abs(scores)).min(axis=1),
            "label_confidence": sigmoid(np.where(known, signed, np.inf).min(axis=1)),
            "loss": losses / np.maximum(known.sum(axis=1), 1),
            "right": (~known | (predicted == truth)).all(axis=1),
        }
        return scores, columns, bin_confidences(sigmoid(scores[known]), truth[known] == 1)


def true_classes(labels: np.ndarray, class_num: int) -> np.ndarray:
    """Return the (N,) class of each image; of (N, C) probabilities, as of mixed images, the most probable class."""
    is_soft = labels.ndim == 2 and labels.shape[1] == class_num and (class_num > 1 or labels.dtype.kind == "f")
    return labels.argmax(axis=1) if is_soft else labels.reshape(-1).astype(np.int64)
