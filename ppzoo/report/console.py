"""Training progress: a progress bar on a terminal, and log lines in `train.log`."""

from __future__ import annotations

import logging
import sys
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from ppzoo.errors import PpzooError, count_text, one_line
from ppzoo.events import Callback, EpochReport, Metrics, StepReport, Summary
from ppzoo.files import open_without_links

logger = logging.getLogger("ppzoo")

_early = BufferingHandler(1000)  # records from before the log file was opened


class _OneLine(logging.Formatter):
    """Formats each message as one line, also if names in it have line ends."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable on Python 3.10
    """Writes to the current standard error, which can be redirected at any time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_OneLine())

    @property
    def stream(self) -> TextIO:
        return sys.stderr


def log_to_console() -> None:
    """Log ppzoo's messages to standard error, without prefix; further calls add no second handler.

    Messages are also kept for the log file of the next `Console`.
    """
    if not logger.handlers:
        logger.setLevel(logging.INFO)
        logger.addHandler(_StandardError())
        logger.propagate = False
    _early.flush()
    logger.addHandler(_early)


def silence() -> None:
    """Log only errors to the console; log files stay complete."""
    for handler in logger.handlers:
        handler.setLevel(logging.ERROR)


def format_metrics(metrics: Metrics) -> str:
    """Format metrics as 'loss 0.4213  top1 0.8733'."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def duration_text(seconds: float) -> str:
    """Format a duration as '1:02:03' or '2:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _LogFile(logging.FileHandler):
    """Appends to a file; the path must not be a link."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=open_without_links)


class Speed:
    """Images per second and the remaining time, from exponential moving averages.

    Args:
        epoch, epochs: the first epoch to train (from 0) and the number of epochs.
    """

    def __init__(self, epoch: int, epochs: int) -> None:
        self.epoch, self.epochs = epoch, epochs
        self.step_seconds: float | None = None
        self.images_per_second = 0.0
        self.eval_seconds = 0.0

    def update(self, report: StepReport) -> None:
        previous = self.step_seconds or report.seconds
        self.step_seconds = 0.9 * previous + 0.1 * report.seconds
        self.images_per_second = report.images / self.step_seconds

    def seconds_left(self, report: StepReport) -> float:
        epochs_after = self.epochs - report.epoch - 1
        steps = report.steps - report.step - 1 + epochs_after * report.steps
        return steps * (self.step_seconds or 0.0) + (epochs_after + 1) * self.eval_seconds


class Console(Callback):
    """Shows training progress on the console and appends it to a log file.

    Args:
        log_file: path of the log file; None for none.
        every: steps between two log lines.
        on_terminal: draw a progress bar instead of logging steps to the console; by default if standard error is a
            terminal.

    Raises:
        PpzooError: the file cannot be written.
    """

    def __init__(self, log_file: Path | None, every: int, on_terminal: bool | None = None) -> None:
        self.every = every
        self.on_terminal = sys.stderr.isatty() if on_terminal is None else on_terminal
        self.bar: tqdm[Any] | None = None
        self.file: logging.Handler = logging.NullHandler()
        try:
            if log_file is not None:
                self.file = _LogFile(log_file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise PpzooError(f"cannot write {log_file}: {error.strerror}") from error
        self.file.setFormatter(_OneLine("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        for record in _early.buffer:
            self.file.handle(record)
        logger.removeHandler(_early)
        logger.addHandler(self.file)

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        self.speed = Speed(epoch, epochs)
        self.metrics: dict[str, float] = {}

    def on_step_end(self, report: StepReport) -> None:
        self.speed.update(report)
        self.metrics |= report.metrics  # running metrics are not computed at every step: the last ones are shown
        text = (
            f"{format_metrics(self.metrics)}  lr {report.learning_rate:.5f}  "
            f"{self.speed.images_per_second:.0f} images/s  left {duration_text(self.speed.seconds_left(report))}"
        )
        if self.on_terminal:
            self._draw(report, text)
        if (report.step + 1) % self.every == 0 or report.step + 1 == report.steps:
            epochs = self.speed.epochs
            line = f"epoch {report.epoch + 1}/{epochs}  step {report.step + 1}/{report.steps}  {text}"
            self._write(line)

    def _draw(self, report: StepReport, text: str) -> None:
        if self.bar is None:
            label = f"epoch {report.epoch + 1}/{self.speed.epochs}"
            shape = label + " {bar} {n_fmt}/{total_fmt}  {desc}"
            self.bar = tqdm(total=report.steps, initial=report.step, leave=False, bar_format=shape)
        self.bar.set_description_str(text, refresh=False)
        self.bar.update()

    def _write(self, line: str) -> None:
        """Log a line of progress; only to the file if a progress bar shows the same."""
        if self.on_terminal:
            self.file.handle(logger.makeRecord("ppzoo", logging.INFO, "", 0, line, (), None))
        else:
            logger.info(line)

    def on_evaluation_begin(self, epoch: int) -> None:
        self._close_bar()

    def on_epoch_end(self, report: EpochReport) -> None:
        self._close_bar()
        self.speed.eval_seconds = report.eval_seconds
        line = f"epoch {report.epoch + 1}/{self.speed.epochs}  train: {format_metrics(report.train)}"
        if report.evaluation is not None:
            line += f"  |  eval: {format_metrics(report.evaluation)}"
        line += f"  |  {report.images_per_second:.0f} images/s, {duration_text(report.train_seconds)}"
        best = "  <- best, averaged weights" if report.averaged else "  <- best"
        logger.info(line + (best if report.is_best else ""))

    def on_train_end(self, summary: Summary) -> None:
        line = f"trained {count_text(summary.epochs, 'epoch')} in {duration_text(summary.seconds)}"
        if summary.best is not None and summary.best_epoch is not None:
            line += f"; best {summary.main} {summary.best:.4f} in epoch {summary.best_epoch + 1}"
            line += ", averaged weights" if summary.averaged else ""
        logger.info(line)

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def close(self) -> None:
        self._close_bar()
        logger.removeHandler(self.file)
        self.file.close()
