"""Metrics of PaddleClas's PULC configurations: attributes of people, vehicles and tables; true positive rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError
from ppzoo.metrics.base import METRICS, Metric, ScoreMetric, binary_labels, hard_labels, scores_of


@METRICS.register
class ATTRMetric(Metric):
    """Mean accuracy `ma`, recall and F1 of the labels, and mean accuracy, precision, recall and F1 of the images.

    Deng, Luo, Loy, Tang: "Pedestrian Attribute Recognition At Far Distance", ACM Multimedia 2014 (ma); Li, Zhang, Chen,
    Ling, Huang: "A Richly Annotated Dataset for Pedestrian Attribute Recognition", 2016, arXiv:1603.07054 (images).
    `ma` is the mean of `label_pos_recall` and `label_neg_recall`. A recall or precision without cases is 0, as in
    PaddleClas. Images without a known label are ignored. `label_f1` uses the recall of each label; PaddleClas uses the
    mean recall of all labels.

    Args:
        threshold: a label is predicted if its probability is above this. (PaddleClas compares the threshold with the
            score before the sigmoid, where 0.5 is a probability of 0.62.)
    """

    label_kind = "multi"

    def __init__(self, *, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold: expected 0 to 1, got {threshold}")
        self.threshold = threshold

    @property
    def main(self) -> str:
        return "ma"

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        truth = binary_labels(label, scores.shape[1])
        found = (F.sigmoid(scores).numpy() > self.threshold) & (truth >= 0)
        both = found & (truth == 1)
        counts = {
            "positive": truth == 1,
            "negative": truth == 0,
            "predicted": found,
            "true_positive": both,
            "true_negative": ~found & (truth == 0),
        }
        images = {
            "instance_acc": _ratio(both.sum(1), (found | (truth == 1)).sum(1)).sum(),
            "instance_prec": _ratio(both.sum(1), found.sum(1)).sum(),
            "instance_recall": _ratio(both.sum(1), (truth == 1).sum(1)).sum(),
            "images": (truth >= 0).any(axis=1).sum(),
        }
        by_label = {name: values.sum(axis=0) for name, values in counts.items()}
        self.merge({**by_label, **{name: np.array(value) for name, value in images.items()}})

    def compute(self) -> dict[str, float]:
        state = self.accumulated()
        if not (state["positive"] + state["negative"]).any():
            return {}
        recall = _ratio(state["true_positive"], state["positive"])
        negative_recall = _ratio(state["true_negative"], state["negative"])
        precision = _ratio(state["true_positive"], state["predicted"])
        images = {
            name: float(state[name] / state["images"]) for name in ("instance_acc", "instance_prec", "instance_recall")
        }
        return {
            "ma": float((recall + negative_recall).mean() / 2),
            "label_f1": float(_f1(precision, recall).mean()),
            "label_pos_recall": float(recall.mean()),
            "label_neg_recall": float(negative_recall.mean()),
            "instance_f1": float(_f1(images["instance_prec"], images["instance_recall"])),
            **images,
        }


@METRICS.register
class TprAtFpr(ScoreMetric):
    """Highest true positive rate at a false positive rate of at most `max_fpr`, for networks of two classes.

    An image counts as positive if the probability of class 1 is above a threshold; the metric `threshold` is the one of
    the returned rate. All thresholds are tried; PaddleClas tries 10000, so its rate can be slightly lower. If a
    class has no images, no metric is returned.

    Args:
        max_fpr: the highest false positive rate, from 0 to 1.
    """

    label_kind = "single"
    required_classes = 2

    def __init__(self, *, max_fpr: float = 0.001) -> None:
        super().__init__()
        if not 0 <= max_fpr <= 1:
            raise ConfigError(f"max_fpr: expected 0 to 1, got {max_fpr}")
        self.max_fpr = max_fpr

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        if scores.shape[1] != 2:
            raise ConfigError(f"TprAtFpr: expected a network of 2 classes, got {scores.shape[1]}")
        positive = hard_labels(label, 2).numpy().ravel() == 1
        self.merge({"probabilities": F.softmax(scores.astype("float64"), axis=1).numpy()[:, 1], "positive": positive})

    def compute(self) -> dict[str, float]:
        state = self.accumulated()
        is_positive = state["positive"].astype(bool)
        positive, negative = (np.sort(state["probabilities"][part]) for part in (is_positive, ~is_positive))
        if not (len(positive) and len(negative)):
            return {}
        allowed = int(np.floor(self.max_fpr * len(negative) * (1 + 1e-12)))  # negatives above the threshold
        threshold = negative[-1 - allowed] if allowed < len(negative) else -np.inf
        rate = float((positive > threshold).mean())
        return {self.main: rate, "threshold": float(max(threshold, 0.0))}


def _ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(part, total, out=np.zeros(len(part)), where=total > 0)


def _f1(precision: Any, recall: Any) -> Any:
    return 2 * precision * recall / np.maximum(precision + recall, 1e-20)
