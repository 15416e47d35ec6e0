"""Events of a training run as JSON, one object per line on standard output (`ppzoo train --json`, docs/terminal.md)."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any

from ppzoo.errors import PpzooError, describe_os_error, exit_status_of
from ppzoo.events import Callback, EpochReport, StepReport, Summary
from ppzoo.report.speed import Speed

logger = logging.getLogger("ppzoo")


def json_line(values: Mapping[str, Any]) -> str:
    """Return values as JSON without line breaks; numbers that are not finite are null."""
    return json.dumps(_finite(values), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class JsonEvents(Callback):
    """Prints a run's events, and within a `with` statement also its warnings and its error."""

    def __init__(self) -> None:
        self.run: Mapping[str, Any] = {}
        self.every = 1
        self.summary: Summary | None = None
        self._warnings = _Warnings(self)

    def describe_run(self, run: Mapping[str, Any], every: int) -> None:
        """Set what the event "start" contains in addition to the epochs, and the steps between two events "step"."""
        self.run, self.every = run, every

    def write(self, event: str, values: Mapping[str, Any]) -> None:
        print(json_line({"event": event, **values}), file=sys.stdout, flush=True)

    def __enter__(self) -> JsonEvents:
        logger.addHandler(self._warnings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logger.removeHandler(self._warnings)
        if isinstance(error, PpzooError):
            self.write("error", {"message": error.line, "exit_status": error.exit_status})
        elif isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # then nobody reads the events
            self.write("error", {"message": describe_os_error(error), "exit_status": exit_status_of(error)})

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        self.speed = Speed(epoch, epochs)
        self.write("start", {**self.run, "epoch": epoch + 1, "epochs": epochs})

    def on_step_end(self, report: StepReport) -> None:
        self.speed.update(report)
        if (report.step + 1) % self.every and report.step + 1 != report.steps:
            return
        self.write(
            "step",
            {
                "epoch": report.epoch + 1,
                "step": report.step + 1,
                "steps": report.steps,
                "train": report.metrics,
                "lr": report.learning_rate,
                "images_per_second": self.speed.images_per_second,
                "seconds_left": self.speed.seconds_left(report),
            },
        )

    def on_epoch_end(self, report: EpochReport) -> None:
        self.speed.add_epoch(report)
        self.write(
            "epoch",
            {
                "epoch": report.epoch + 1,
                "train": report.train,
                "eval": report.evaluation,
                "lr": report.learning_rate,
                "images_per_second": report.images_per_second,
                "train_seconds": report.train_seconds,
                "eval_seconds": report.eval_seconds,
                "is_best": report.is_best,
                "averaged": report.averaged,
            },
        )

    def on_train_end(self, summary: Summary) -> None:
        self.summary = summary

    def write_end(self, files: Mapping[str, Any]) -> None:
        """Print the last event: the result of the run, and its files."""
        if self.summary is not None:
            values = asdict(self.summary)
            number = values["best_epoch"]
            self.write("end", {**values, "best_epoch": None if number is None else number + 1, **files})


class _Warnings(logging.Handler):
    """Prints each warning, and each logged error, as an event "warning"."""

    def __init__(self, events: JsonEvents) -> None:
        super().__init__(logging.WARNING)
        self.events = events

    def emit(self, record: logging.LogRecord) -> None:
        self.events.write("warning", {"message": record.getMessage()})
