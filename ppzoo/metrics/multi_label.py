"""Metrics of images that have any number of labels; a class is predicted where its sigmoid is above 0.5.

Labels below 0 are unknown and do not count. Without a label that counts there is no value.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import paddle

from ppzoo.errors import ConfigError
from ppzoo.metrics.base import METRICS, Metric, ScoreMetric, decisions, scores_of
from ppzoo.metrics.precision import average_precision, eleven_point_precision


@METRICS.register
class HammingDistance(Metric):
    """Share of the decisions about known labels that are wrong; lower is better."""

    label_kind = "multi"

    higher_is_better = False

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        truth = decisions(label, scores.shape[1])
        known = truth >= 0
        wrong = known & ((scores.numpy() > 0) != (truth == 1))
        self.merge({"wrong": np.array(wrong.sum()), "decisions": np.array(known.sum())})

    def compute(self) -> dict[str, float]:
        counts = self.gathered()
        return {self.main: float(counts["wrong"] / counts["decisions"])} if counts["decisions"] else {}


@METRICS.register
class AccuracyScore(Metric):
    """Share of right answers.

    Args:
        base: "label" counts the decisions about known labels; "sample" the samples with a known label, as right where
            all of these decisions are.
    """

    label_kind = "multi"

    def __init__(self, *, base: Literal["label", "sample"] = "label") -> None:
        super().__init__()
        if base not in ("label", "sample"):
            raise ConfigError(f"expected base label or sample, got {base!r}")
        self.base = base

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        truth = decisions(label, scores.shape[1])
        known = truth >= 0
        right = known & ((scores.numpy() > 0) == (truth == 1))
        rights, answers = right.sum(axis=1), known.sum(axis=1)
        if self.base == "sample":
            rights, answers = (answers > 0) & (rights == answers), answers > 0
        self.merge({"right": np.array(rights.sum()), "answers": np.array(answers.sum())})

    def compute(self) -> dict[str, float]:
        counts = self.gathered()
        return {self.main: float(counts["right"] / counts["answers"])} if counts["answers"] else {}


@METRICS.register
class MultiLabelMAP(ScoreMetric):
    """Mean over the classes with a positive of their average precision, each over the samples of which it is known.

    Args:
        map_type: "integral": precision by every gain of recall; "11point": mean of the best precision at a recall of
            0, 0.1, ..., 1 or more (Pascal VOC 2007).
    """

    label_kind = "multi"

    def __init__(self, *, map_type: Literal["integral", "11point"] = "integral") -> None:
        super().__init__()
        if map_type not in ("integral", "11point"):
            raise ConfigError(f"expected map_type integral or 11point, got {map_type!r}")
        self.map_type = map_type

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        self.merge({"scores": scores.numpy(), "positive": decisions(label, scores.shape[1])})

    def compute(self) -> dict[str, float]:
        state = self.gathered()
        measure = average_precision if self.map_type == "integral" else eleven_point_precision
        if (state["positive"] < 0).all():
            return {}
        columns = zip(state["scores"].T, state["positive"].T, strict=True)
        precisions = [measure(scores[truth >= 0], truth[truth >= 0] == 1) for scores, truth in columns if 1 in truth]
        return {self.main: float(np.mean(precisions)) if precisions else 0.0}
