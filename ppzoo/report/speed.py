"""Training speed and the remaining time of a run."""

from __future__ import annotations

from ppzoo.events import EpochReport, StepReport


class Speed:
    """Images per second and the remaining time, from an exponential moving average of the time per step.

    Args:
        epoch, epochs: the first epoch to train (from 0) and the number of epochs.
    """

    def __init__(self, epoch: int, epochs: int) -> None:
        self.epoch, self.epochs = epoch, epochs
        self.step_seconds: float | None = None
        self.images_per_second = 0.0
        self.eval_seconds: list[float] = []  # of each epoch since the start; 0 without an evaluation

    def update(self, report: StepReport) -> None:
        previous = self.step_seconds or report.seconds
        self.step_seconds = 0.9 * previous + 0.1 * report.seconds
        self.images_per_second = report.images / self.step_seconds

    def add_epoch(self, report: EpochReport) -> None:
        self.eval_seconds.append(report.eval_seconds)

    def seconds_left(self, report: StepReport) -> float:
        epochs_after = self.epochs - report.epoch - 1
        steps = report.steps - report.step - 1 + epochs_after * report.steps
        evaluation = sum(self.eval_seconds) / max(len(self.eval_seconds), 1)  # Global.eval_interval can be above 1
        return steps * (self.step_seconds or 0.0) + (epochs_after + 1) * evaluation
