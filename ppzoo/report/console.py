"""Training progress: a table and a progress bar on a terminal, else lines; in both cases lines in `train.log`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppzoo import terminal
from ppzoo.errors import count_text
from ppzoo.events import Callback, EpochReport, Metrics, StepReport, Summary
from ppzoo.progress import duration_text, is_quiet
from ppzoo.report.chart import draw_chart
from ppzoo.report.epoch_table import EpochTable, format_rate
from ppzoo.report.log import LogFile, log_result
from ppzoo.report.speed import Speed

logger = logging.getLogger("ppzoo")

History = Sequence[Mapping[str, Any]]  # the entries of history.jsonl


def format_metrics(metrics: Metrics) -> str:
    """Format metrics as 'loss 0.4213  top1 0.8733'."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


class Console(Callback):
    """Shows training progress on the console and appends it to a log file.

    Args:
        log_file: path of the log file; None for none.
        every: steps between two log lines.
        on_terminal: draw a table of epochs and a progress bar instead of logging steps and epochs to the console; by
            default if standard error is a terminal.
        history: returns the epochs of the whole run, also those from before it was resumed, for the chart at the end.
        weakest: returns the weakest classes of the last evaluation as text. Its argument is True for the averaged
            weights, and False for the weights themselves.

    Raises:
        PpzooError: the file cannot be written.
    """

    def __init__(
        self,
        log_file: Path | None,
        every: int,
        on_terminal: bool | None = None,
        history: Callable[[], History] = list,
        weakest: Callable[[bool], str] = lambda of_average: "",
    ) -> None:
        self.every = every
        self.on_terminal = (terminal.is_terminal() if on_terminal is None else on_terminal) and not is_quiet()
        self.history, self.describe_weakest = history, weakest
        self.weakest = ""  # the weakest classes in the best epoch
        self.table: EpochTable | None = None
        self.file = LogFile(log_file)

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        self.speed = Speed(epoch, epochs)
        self.metrics: dict[str, float] = {}
        if self.on_terminal and epoch < epochs:
            self.table = EpochTable(self.speed)
            terminal.display.add(self.table)

    def on_step_end(self, report: StepReport) -> None:
        self.speed.update(report)
        self.metrics |= report.metrics  # running metrics are not computed at every step: the last ones are shown
        if self.table is not None:
            self.table.update(report, self.metrics)
            terminal.display.refresh()
        if (report.step + 1) % self.every == 0 or report.step + 1 == report.steps:
            self._write(
                f"epoch {report.epoch + 1}/{self.speed.epochs}  step {report.step + 1}/{report.steps}"
                f"  {format_metrics(self.metrics)}  lr {format_rate(report.learning_rate)}"
                f"  {self.speed.images_per_second:.0f} images/s"
                f"  left {duration_text(self.speed.seconds_left(report))}"
            )

    def _write(self, line: str) -> None:
        """Log a line of progress; only to the file if the terminal shows the same."""
        if self.table is not None:
            self.file.write(line)
        else:
            logger.info(line)

    def on_evaluation_begin(self, epoch: int) -> None:
        if self.table is not None:
            self.table.step = None  # the progress of the evaluation is drawn in its place

    def on_epoch_end(self, report: EpochReport) -> None:
        self.speed.add_epoch(report)
        line = f"epoch {report.epoch + 1}/{self.speed.epochs}  train: {format_metrics(report.train)}"
        if report.evaluation is not None:
            line += f"  |  eval: {format_metrics(report.evaluation)}"
        line += f"  |  {report.images_per_second:.0f} images/s, {duration_text(report.train_seconds)}"
        best = "  <- best, averaged weights" if report.averaged else "  <- best"
        self._write(line + (best if report.is_best else ""))
        if report.is_best:
            self.weakest = self.describe_weakest(report.averaged)
        if self.table is not None:
            self.table.add_epoch(report)
            terminal.display.refresh()

    def on_train_end(self, summary: Summary) -> None:
        self._print_table()
        for line in chart_of(self.history(), summary.main):
            logger.info(line)
        if self.weakest and summary.best_epoch is not None:
            logger.info("weakest classes in epoch %d, by recall: %s", summary.best_epoch + 1, self.weakest)
        line = f"trained {count_text(summary.epochs, 'epoch')} in {duration_text(summary.seconds)}"
        if summary.best is not None and summary.best_epoch is not None:
            line += f"; best {summary.main} {summary.best:.4f} in epoch {summary.best_epoch + 1}"
            line += ", averaged weights" if summary.averaged else ""
        log_result(line)

    def _print_table(self) -> None:
        """Replace the drawing by the table of the last epochs, which then stays on the terminal."""
        table, self.table = self.table, None
        if table is not None:
            terminal.display.remove(table)
            if table.epochs:
                terminal.print_once(lambda width: table.table(width))

    def close(self) -> None:
        self._print_table()
        self.file.close()


def chart_of(history: History, main: str) -> list[str]:
    """Return a chart of the main metric of the evaluations, or of the training loss; nothing for a single epoch.

    Values that are not finite are omitted.
    """
    for part, name in (("eval", main), ("train", "loss")):
        points = [(entry["epoch"], (entry[part] or {}).get(name, math.nan)) for entry in history]
        points = [(epoch, value) for epoch, value in points if value is not None and math.isfinite(value)]
        if len(points) > 1:
            epochs, values = zip(*points, strict=True)
            return draw_chart(
                f"{part} {name} by epoch", epochs, values, width=terminal.width(), utf8=terminal.is_utf8()
            )
    return []
