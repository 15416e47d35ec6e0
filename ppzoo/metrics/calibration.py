"""Calibration of the predicted probabilities."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.analysis import bin_confidences, calibration_error
from ppzoo.errors import ConfigError
from ppzoo.metrics.base import METRICS, Metric, hard_labels, scores_of

MAX_BINS = 100_000


@METRICS.register
class ExpectedCalibrationError(Metric):
    """Mean gap of confidence and accuracy over bins of equal confidence width, weighted by samples; lower is better.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, equation 3.

    Args:
        bins: number of bins; a bin contains the confidences above its lower edge and up to its upper edge. A confidence
            that differs from an edge only by the rounding of float32 scores counts as equal to it.
    """

    label_kind = "single"

    higher_is_better = False

    def __init__(self, *, bins: int = 15) -> None:
        super().__init__()
        if not 1 <= bins <= MAX_BINS:
            raise ConfigError(f"bins: expected a number from 1 to {MAX_BINS}, got {bins}")
        self.bins = bins

    def update(self, output: Any, label: paddle.Tensor) -> None:
        scores = scores_of(output)
        probabilities = F.softmax(scores.astype("float64"), axis=1).numpy()
        truth = hard_labels(label, scores.shape[1]).numpy().ravel()
        right = probabilities.argmax(axis=1) == truth
        self.merge(bin_confidences(probabilities.max(axis=1), right, self.bins))

    def compute(self) -> dict[str, float]:
        return {self.main: calibration_error(self.accumulated())}
