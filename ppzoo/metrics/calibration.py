"""Whether the probabilities can be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError
from ppzoo.metrics.base import METRICS, Metric, class_indices, scores_of

EXACT = 2.0**-30  # float64 sums 8 million probabilities in multiples of it without rounding


@METRICS.register
class ExpectedCalibrationError(Metric):
    """Mean gap between confidence and accuracy over bins of equal confidence width; lower is better.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, equation 3.

    Args:
        bins: number of bins; a bin holds the confidences above its lower and up to its upper edge. A confidence that
            misses an edge by the rounding of float32 scores lies on it.
    """

    label_kind = "single"

    higher_is_better = False

    def __init__(self, *, bins: int = 15) -> None:
        super().__init__()
        if bins < 1:
            raise ConfigError(f"expected bins of 1 or more, got {bins}")
        self.bins = bins

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        probabilities = F.softmax(scores.astype("float64"), axis=1).numpy()
        # Sums of multiples of EXACT are exact, so that they do not depend on the order of batches and processes.
        confidence = (probabilities.max(axis=1) / EXACT).round() * EXACT
        truth = class_indices(label, scores.shape[1]).numpy().ravel()
        right = probabilities.argmax(axis=1) == truth
        index = np.clip(np.ceil((confidence * self.bins).round(5)).astype("int64") - 1, 0, self.bins - 1)
        sums = {"samples": np.ones(len(truth)), "confidence": confidence, "right": right}
        self.merge({key: np.bincount(index, weights=value, minlength=self.bins) for key, value in sums.items()})

    def compute(self) -> dict[str, float]:
        sums = self.gathered()
        return {self.main: float(np.abs(sums["right"] - sums["confidence"]).sum() / sums["samples"].sum())}
