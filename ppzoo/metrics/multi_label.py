"""Metrics of images that have any number of labels; a class is predicted where its sigmoid is above 0.5."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import paddle

from ppzoo.errors import ConfigError
from ppzoo.metrics.base import METRICS, Metric, ScoreMetric, multi_hot, scores_of
from ppzoo.metrics.precision import average_precision, eleven_point_precision


@METRICS.register
class HammingDistance(Metric):
    """Share of the N x C decisions that are wrong; lower is better."""

    higher_is_better = False

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        wrong = (scores.numpy() > 0) != multi_hot(label, scores.shape[1])
        self.merge({"wrong": np.array(wrong.sum()), "decisions": np.array(wrong.size)})

    def compute(self) -> dict[str, float]:
        counts = self.gathered()
        return {self.main: float(counts["wrong"] / counts["decisions"])}


@METRICS.register
class AccuracyScore(Metric):
    """Share of right answers.

    Args:
        base: "label" counts the N x C decisions; "sample" the samples with all C of them right.
    """

    def __init__(self, *, base: Literal["label", "sample"] = "label") -> None:
        super().__init__()
        if base not in ("label", "sample"):
            raise ConfigError(f"expected base label or sample, received {base!r}")
        self.base = base

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        right = (scores.numpy() > 0) == multi_hot(label, scores.shape[1])
        answers = right if self.base == "label" else right.all(axis=1)
        self.merge({"right": np.array(answers.sum()), "answers": np.array(answers.size)})

    def compute(self) -> dict[str, float]:
        counts = self.gathered()
        return {self.main: float(counts["right"] / counts["answers"])}


@METRICS.register
class MultiLabelMAP(ScoreMetric):
    """Mean over the classes with a positive of their average precision.

    Args:
        map_type: "integral": precision by every gain of recall; "11point": mean of the best precision at a recall of
            0, 0.1, ..., 1 or more (Pascal VOC 2007).
    """

    def __init__(self, *, map_type: Literal["integral", "11point"] = "integral") -> None:
        super().__init__()
        if map_type not in ("integral", "11point"):
            raise ConfigError(f"expected map_type integral or 11point, received {map_type!r}")
        self.map_type = map_type

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        self.merge({"scores": scores.numpy(), "positive": multi_hot(label, scores.shape[1])})

    def compute(self) -> dict[str, float]:
        state = self.gathered()
        measure = average_precision if self.map_type == "integral" else eleven_point_precision
        columns = zip(state["scores"].T, state["positive"].T, strict=True)
        precisions = [measure(scores, positive) for scores, positive in columns if positive.any()]
        return {self.main: float(np.mean(precisions)) if precisions else 0.0}
