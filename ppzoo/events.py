"""What a training tells those who watch it: the figures of a step, of an epoch, and the moments at which they come.

Callbacks observe and never steer: nothing that they answer changes the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class StepReport:
    """One training step.

    Attributes:
        epoch, step: numbers from 0; `steps` is the number of steps of an epoch.
        figures: this step's losses by name, and where they are due the epoch's running metrics.
        learning_rate: the one that this step used.
        images: images of the batch; `seconds`: time since the last step ended, reading included.
    """

    epoch: int
    step: int
    steps: int
    figures: Metrics
    learning_rate: float
    images: int
    seconds: float

    @property
    def done(self) -> int:
        """Steps of the whole run that are finished."""
        return self.epoch * self.steps + self.step + 1


@dataclass(frozen=True)
class EpochReport:
    """One epoch: the mean training figures, the evaluation's (None where there was none), and whether it is the best.

    Attributes:
        epoch: number from 0.
        train_seconds, eval_seconds: wall-clock time of the two parts.
        averaged: it is the best by the averaged weights, whose figures end in "_ema".
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
    """A finished training.

    Attributes:
        seconds: wall-clock time of this process's part of it.
        main: name of the figure that decides; `best` its best value, reached in epoch `best_epoch` (from 0), by the
            averaged weights if `averaged`; None without an evaluation.
    """

    epochs: int
    seconds: float
    main: str
    best: float | None
    best_epoch: int | None
    averaged: bool = False


class Callback:
    """Base of the observers; each method is called at its moment and does nothing by default."""

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """`epoch` (from 0) is the first to be trained of `epochs`."""

    def on_step_end(self, report: StepReport) -> None: ...

    def on_evaluation_begin(self, epoch: int) -> None:
        """All steps of the epoch are made, and it is evaluated before it ends."""

    def on_epoch_end(self, report: EpochReport) -> None: ...

    def on_train_end(self, summary: Summary) -> None: ...

    def on_interrupt(self) -> None:
        """The run stops here because it was asked to."""

    def close(self) -> None:
        """Called at the very end, also when the run failed."""
