"""The interface of loggers, and the registry of their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppzoo.registry import Registry
from ppzoo.report.loggers.pictures import draw_confusion_matrix

STEP, EPOCH, RUN = "step/", "epoch/", "run/"  # prefixes of tags
WEIGHTS, GRADIENTS = "weights/", "gradients/"  # prefixes of the tags of histograms, which are logged by epoch number


@dataclass(frozen=True)
class RunStart:
    """The run that a logger is for.

    Attributes:
        folder: the output folder of the run, which exists.
        epochs, steps: numbers of finished epochs and steps; 0 unless the run is resumed. A resumed run
            logs again what an earlier process logged about later epochs and steps, and everything whose tag begins with
            "run/".
    """

    folder: Path
    epochs: int = 0
    steps: int = 0


@dataclass(frozen=True)
class PRCurve:
    """Counts, precision and recall at rising thresholds from 0 to 1; a score at the threshold counts as positive."""

    tp: np.ndarray
    fp: np.ndarray
    tn: np.ndarray
    fn: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """TP / (TP + FP); 1 where nothing is predicted as positive, as in scikit-learn, so that curves end at 1."""
        predicted = self.tp + self.fp
        return np.where(predicted > 0, self.tp / np.maximum(predicted, 1), 1.0)

    @property
    def recall(self) -> np.ndarray:
        """TP / (TP + FN); 0 without positive samples."""
        return self.tp / np.maximum(self.tp + self.fn, 1)


class Logger:
    """Base class of loggers; a method that is not overridden logs nothing, except `log_confusion_matrix`.

    The argument `number` depends on the start of the tag. For "step/" it is the number of the training step, from 0.
    For "epoch/", "weights/" and "gradients/" it is the number of the epoch, from 1. For "run/", which is logged when a
    run starts or resumes, it is 0.

    A method that raises an exception switches the logger off: the exception is logged as a warning, and the run
    continues without the logger. If several processes train together, only the first one has loggers.

    Args:
        start: the run, and from where it starts.
    """

    def __init__(self, start: RunStart) -> None: ...

    def log_scalars(self, scalars: Mapping[str, float], number: int) -> None:
        """Log numbers by tag; called after each training step and each epoch."""

    def log_image(self, tag: str, image: np.ndarray, number: int) -> None:
        """Log an H x W x 3 uint8 RGB image."""

    def log_histogram(self, tag: str, counts: np.ndarray, edges: np.ndarray, number: int) -> None:
        """Log how many values are in each bin; `edges` has one value more than `counts`."""

    def log_text(self, tag: str, text: str, number: int) -> None:
        """Log plain text of several lines."""

    def log_confusion_matrix(self, tag: str, matrix: np.ndarray, names: Sequence[str], number: int) -> None:
        """Log the number of images by class (row) and predicted class (column); by default as an image."""
        self.log_image(tag, draw_confusion_matrix(matrix, names), number)

    def log_pr_curve(self, tag: str, curve: PRCurve, number: int) -> None:
        """Log a precision-recall curve."""

    def log_hyperparameters(self, values: Mapping[str, bool | int | float | str], metrics: Sequence[str]) -> None:
        """Log the hyper-parameters of the run, and the tags of the scalars that are its results."""

    def close(self) -> None:
        """Called last, also if the run failed."""


LOGGERS: Registry[Callable[[RunStart], Logger]] = Registry("logger")
"""Classes or functions that make a logger, by the name in `Global.loggers`.

They raise ImportError if a package is missing.
"""
