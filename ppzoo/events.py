"""Callbacks of a training run and the reports that they receive. They observe: their return values are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Metrics = Mapping[str, float]
EMA_SUFFIX = "_ema"  # appended to the names of evaluation metrics that the averaged weights reach


@dataclass(frozen=True)
class StepReport:
    """One training step.

    Attributes:
        epoch, step: numbers from 0; `steps` is the number of steps of an epoch.
        metrics: this step's losses by name, and at intervals the epoch's running metrics.
        learning_rate: of this step.
        images: number of images; `seconds` is the time since the end of the previous step, including data loading.
    """

    epoch: int
    step: int
    steps: int
    metrics: Metrics
    learning_rate: float
    images: int
    seconds: float

    @property
    def done(self) -> int:
        """Number of finished steps of the run."""
        return self.epoch * self.steps + self.step + 1


@dataclass(frozen=True)
class EpochReport:
    """One epoch: training metrics, evaluation metrics (None without an evaluation), and whether it is the best so far.

    Attributes:
        epoch: number from 0.
        train_seconds, eval_seconds: wall-clock time of training and evaluation.
        averaged: `is_best`, and the averaged weights (EMA) reached the best value; the names of their metrics end in
            `EMA_SUFFIX`.
    """

    epoch: int
    train: Metrics
    evaluation: Metrics | None
    learning_rate: float
    images_per_second: float
    train_seconds: float
    eval_seconds: float
    is_best: bool
    averaged: bool = False


@dataclass(frozen=True)
class Summary:
    """A finished run.

    Attributes:
        seconds: wall-clock time since it was started or resumed.
        main: name of the main metric; `best` is its best value, reached in epoch `best_epoch` (from 0) by the averaged
            weights if `averaged`; None without an evaluation.
    """

    epochs: int
    seconds: float
    main: str
    best: float | None
    best_epoch: int | None
    averaged: bool = False


class Callback:
    """Base class of callbacks, whose methods do nothing by default."""

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """Called first. The run has `epochs` epochs in total and starts or resumes with `epoch` (from 0)."""

    def on_first_batch(self, epoch: int, batch: Any) -> None:
        """Called with the first batch of images, labels and indices that is trained in an epoch, before its step."""

    def on_gradients(self, epoch: int) -> None:
        """Called in the last step of an epoch, when the parameters have their gradients."""

    def on_step_end(self, report: StepReport) -> None: ...

    def on_evaluation_begin(self, epoch: int) -> None:
        """Called after the last step of an epoch with an evaluation."""

    def on_epoch_end(self, report: EpochReport) -> None: ...

    def on_train_end(self, summary: Summary) -> None: ...

    def on_interrupt(self) -> None:
        """Called when the run stops because of a signal."""

    def close(self) -> None:
        """Called last, also if the run failed."""
