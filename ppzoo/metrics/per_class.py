"""How well each class does, from counts of labels and predictions and from the scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppzoo.metrics.base import METRICS, Metric, ScoreMetric, class_indices, scores_of
from ppzoo.metrics.precision import average_precision


@METRICS.register
class PrecisionRecallF1(Metric):
    """Precision, recall and F1 of the classes, as means: {"precision_macro": ..., "f1_weighted": ...}.

    The macro mean is over the classes that occur among the labels or the predictions; the weighted mean weighs a class
    by its number of labels. A figure without a case (precision of a class that is never predicted) is 0.

    Args:
        per_class: answer each class's figures too, as "precision_class0", ...
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
        truth = class_indices(label, class_num).numpy().ravel()
        predicted = scores.argmax(axis=1).numpy()
        cases = {"right": truth[truth == predicted], "support": truth, "predicted": predicted}
        self.merge({name: np.bincount(values, minlength=class_num) for name, values in cases.items()})

    def per_class(self) -> dict[str, np.ndarray]:
        """ "precision", "recall", "f1" and "support" (the number of labels) of every class, each of C."""
        right, support, predicted = (self.gathered()[name] for name in ("right", "support", "predicted"))
        return {
            "precision": _ratio(right, predicted),
            "recall": _ratio(right, support),
            "f1": _ratio(2 * right, support + predicted),
            "support": support,
        }

    def compute(self) -> dict[str, float]:
        figures = self.per_class()
        support = figures.pop("support")
        occurs = support + self.gathered()["predicted"] > 0
        answer = {f"{name}_macro": float(values[occurs].mean()) for name, values in figures.items()}
        for name, values in figures.items():
            answer[f"{name}_weighted"] = float(np.average(values, weights=support))
        if self.with_classes:
            for name, values in figures.items():
                answer.update({f"{name}_class{index}": float(value) for index, value in enumerate(values)})
        return answer


@METRICS.register
class AveragePrecision(ScoreMetric):
    """Mean over the classes that occur of the average precision of a class against all others."""

    label_kind = "single"

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        truth = class_indices(label, scores.shape[1]).numpy().ravel()
        self.merge({"probabilities": F.softmax(scores, axis=1).numpy(), "truth": truth})

    def per_class(self) -> np.ndarray:
        """Average precision of every class, C; not a number for one that does not occur."""
        state = self.gathered()
        columns = enumerate(state["probabilities"].T)
        positives = ((scores, state["truth"] == index) for index, scores in columns)
        return np.array([average_precision(scores, hit) if hit.any() else np.nan for scores, hit in positives])

    def compute(self) -> dict[str, float]:
        return {self.main: float(np.nanmean(self.per_class()))}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
