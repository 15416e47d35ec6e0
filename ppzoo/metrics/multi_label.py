"""Metrics for images with any number of labels each.

A class is predicted if the sigmoid of its score is above 0.5. Labels below 0 are unknown and ignored. Without known
labels a metric has no value.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import paddle

from ppzoo.errors import ConfigError
from ppzoo.metrics.base import METRICS, Metric, ScoreMetric, binary_labels, scores_of
from ppzoo.metrics.precision_recall import average_precision, eleven_point_precision


@METRICS.register
class HammingDistance(Metric):
    """Fraction of the known labels that are predicted wrongly, with a threshold of 0.5; lower is better."""

    label_kind = "multi"

    higher_is_better = False

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        truth = binary_labels(label, scores.shape[1])
        known = truth >= 0
        wrong = known & ((scores.numpy() > 0) != (truth == 1))
        self.merge({"wrong": np.array(wrong.sum()), "decisions": np.array(known.sum())})

    def compute(self) -> dict[str, float]:
        counts = self.accumulated()
        return {self.main: float(counts["wrong"] / counts["decisions"])} if counts["decisions"] else {}


@METRICS.register
class AccuracyScore(Metric):
    """Multi-label accuracy; a class is predicted if its probability is above 0.5.

    Args:
        base: "label": fraction of the known labels that are predicted correctly; "sample": fraction of the samples with
            a known label whose known labels are all predicted correctly.
    """

    label_kind = "multi"

    def __init__(self, *, base: Literal["label", "sample"] = "label") -> None:
        super().__init__()
        if base not in ("label", "sample"):
            raise ConfigError(f"base: expected 'label' or 'sample', got {base!r}")
        self.base = base

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        truth = binary_labels(label, scores.shape[1])
        known = truth >= 0
        right = known & ((scores.numpy() > 0) == (truth == 1))
        correct, total = right.sum(axis=1), known.sum(axis=1)
        if self.base == "sample":
            correct, total = (total > 0) & (correct == total), total > 0
        # Checkpoints contain these keys.
        self.merge({"right": np.array(correct.sum()), "answers": np.array(total.sum())})

    def compute(self) -> dict[str, float]:
        counts = self.accumulated()
        return {self.main: float(counts["right"] / counts["answers"])} if counts["answers"] else {}


@METRICS.register
class MultiLabelMAP(ScoreMetric):
    """Mean average precision over the classes that have a positive label; unknown labels are ignored.

    Args:
        map_type: "integral": precision summed over the steps of recall; "11point": mean of the highest precision at a
            recall of at least 0, 0.1, ..., 1 (Pascal VOC 2007).
    """

    label_kind = "multi"

    def __init__(self, *, map_type: Literal["integral", "11point"] = "integral") -> None:
        super().__init__()
        if map_type not in ("integral", "11point"):
            raise ConfigError(f"map_type: expected 'integral' or '11point', got {map_type!r}")
        self.map_type = map_type

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        self.merge({"scores": scores.numpy(), "positive": binary_labels(label, scores.shape[1])})

    def compute(self) -> dict[str, float]:
        state = self.accumulated()
        measure = average_precision if self.map_type == "integral" else eleven_point_precision
        if (state["positive"] < 0).all():
            return {}
        columns = zip(state["scores"].T, state["positive"].T, strict=True)
        precisions = [measure(scores[truth >= 0], truth[truth >= 0] == 1) for scores, truth in columns if 1 in truth]
        return {self.main: float(np.mean(precisions)) if precisions else 0.0}
