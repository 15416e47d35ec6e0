"""The figures of a training as VisualDL scalars: `visualdl --logdir OUTPUT_FOLDER` draws them."""

from __future__ import annotations

from pathlib import Path

from ppzoo.events import Callback, EpochReport, StepReport


class Scalars(Callback):
    """Writes loss, metrics, learning rate and images/s, once a step and once an epoch.

    Args:
        folder: VisualDL's records go there.
    """

    def __init__(self, folder: Path) -> None:
        from visualdl import LogWriter  # slow to import, and not everyone asks for it

        self.writer = LogWriter(logdir=str(folder))

    def on_step_end(self, report: StepReport) -> None:
        number = report.epoch * report.steps + report.step
        speed = report.images / report.seconds
        self._write("step", number, {**report.figures, "lr": report.learning_rate, "images_per_second": speed})

    def on_epoch_end(self, report: EpochReport) -> None:
        number = report.epoch + 1
        figures = {"lr": report.learning_rate, "images_per_second": report.images_per_second}
        self._write("epoch/train", number, {**report.train, **figures})
        if report.evaluation is not None:
            self._write("epoch/eval", number, report.evaluation)

    def _write(self, group: str, number: int, figures) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(f"{group}/{name}", float(value), step=number)

    def close(self) -> None:
        self.writer.close()
