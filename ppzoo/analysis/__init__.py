"""Analysis of predictions with NumPy only: per-class metrics, confusion, calibration, coverage, ranking, comparison."""

from ppzoo.analysis.calibration import (
    BinSums,
    bin_confidences,
    calibration_error,
    describe_bins,
    fit_temperature,
    scaled_bins,
)
from ppzoo.analysis.comparison import McNemar, mcnemar
from ppzoo.analysis.per_class import (
    ClassScores,
    Weakest,
    count_confusion,
    count_label_confusion,
    find_weakest_class,
    score_classes,
    score_labels,
)
from ppzoo.analysis.predictions import PredictionRecorder, Predictions, true_classes
from ppzoo.analysis.ranking import confidently_wrong, coverage_curve, highest_loss, least_confident

__all__ = [
    "BinSums",
    "ClassScores",
    "McNemar",
    "PredictionRecorder",
    "Predictions",
    "Weakest",
    "bin_confidences",
    "calibration_error",
    "confidently_wrong",
    "count_confusion",
    "count_label_confusion",
    "coverage_curve",
    "describe_bins",
    "find_weakest_class",
    "fit_temperature",
    "highest_loss",
    "least_confident",
    "mcnemar",
    "scaled_bins",
    "score_classes",
    "score_labels",
    "true_classes",
]
