"""Precision, recall and F1 per class from counts, and average precision per class from scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppzoo.metrics.base import METRICS, Metric, ScoreMetric, hard_labels, scores_of
from ppzoo.metrics.precision_recall import average_precision


@METRICS.register
class PrecisionRecallF1(Metric):
    """Macro and weighted means of precision, recall and F1: {"precision_macro": ..., "f1_weighted": ...}.

    The macro mean is over the classes that occur in the labels or the predictions; the weighted mean weights a class by
    its number of labels. A metric without cases (precision of a class that is never predicted) is 0.

    Args:
        per_class: also return the metrics of each class, as "precision_class0", ...
    """

    label_kind = "single"

    def __init__(self, *, per_class: bool = False) -> None:
        super().__init__()
        self.with_classes = per_class

    @property
    def main(self) -> str:
        return "f1_macro"

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        class_num = scores.shape[1]
        truth = hard_labels(label, class_num).numpy().ravel()
        predicted = scores.argmax(axis=1).numpy()
        cases = {"right": truth[truth == predicted], "support": truth, "predicted": predicted}
        self.merge({name: np.bincount(values, minlength=class_num) for name, values in cases.items()})

    def per_class(self) -> dict[str, np.ndarray]:
        """Return "precision", "recall", "f1" and "support" (number of labels) of each class, arrays of C."""
        right, support, predicted = (self.accumulated()[name] for name in ("right", "support", "predicted"))
        return {
            "precision": _ratio(right, predicted),
            "recall": _ratio(right, support),
            "f1": _ratio(2 * right, support + predicted),
            "support": support,
        }

    def compute(self) -> dict[str, float]:
        by_class = self.per_class()
        support = by_class.pop("support")
        occurs = support + self.accumulated()["predicted"] > 0
        computed = {f"{name}_macro": float(values[occurs].mean()) for name, values in by_class.items()}
        for name, values in by_class.items():
            computed[f"{name}_weighted"] = float(np.average(values, weights=support))
        if self.with_classes:
            for name, values in by_class.items():
                computed.update({f"{name}_class{index}": float(value) for index, value in enumerate(values)})
        return computed


@METRICS.register
class AveragePrecision(ScoreMetric):
    """Mean of the one-vs-rest average precisions of the classes that occur in the labels."""

    label_kind = "single"

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        truth = hard_labels(label, scores.shape[1]).numpy().ravel()
        self.merge({"probabilities": F.softmax(scores, axis=1).numpy(), "truth": truth})

    def per_class(self) -> np.ndarray:
        """Return the average precision of each class, an array of C; NaN for a class that does not occur."""
        state = self.accumulated()
        columns = enumerate(state["probabilities"].T)
        positives = ((scores, state["truth"] == index) for index, scores in columns)
        return np.array([average_precision(scores, hit) if hit.any() else np.nan for scores, hit in positives])

    def compute(self) -> dict[str, float]:
        return {self.main: float(np.nanmean(self.per_class()))}


def _ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(part, total, out=np.zeros(len(part)), where=total > 0)
