"""ppzoo's log messages: on standard error, above what is drawn on a terminal, and in a run's `train.log`."""

from __future__ import annotations

import logging
import sys
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any, TextIO

from ppzoo import progress, terminal
from ppzoo.errors import PpzooError, one_line
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
        self.addFilter(_is_shown)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if not terminal.display.print(self.format(record)):
            super().emit(record)


def _is_shown(record: logging.LogRecord) -> bool:
    """Skip details, which are for `train.log`; with --quiet, show only warnings, errors and the result of a run."""
    if hasattr(record, "is_detail"):
        return False
    return not progress.is_quiet() or record.levelno >= logging.WARNING or hasattr(record, "is_result")


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
    """Log only errors to the console, and show no progress; log files stay complete."""
    progress.set_quiet(True)
    for handler in logger.handlers:
        if handler is not _early:
            handler.setLevel(logging.ERROR)


def log_result(text: str) -> None:
    """Log the result of a run, which is also shown with --quiet."""
    logger.info(text, extra={"is_result": True})


class LogFile:
    """The log file of a run; it begins with the messages that were logged before it was opened.

    Args:
        path: path of the file, which is appended to if it exists; None for none.

    Raises:
        PpzooError: the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.handler: logging.Handler = logging.NullHandler()
        try:
            if path is not None:
                self.handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise PpzooError(f"cannot write {path}: {error.strerror}") from error
        self.handler.setFormatter(_OneLine("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        for record in _early.buffer:
            self.handler.handle(record)
        logger.removeHandler(_early)
        logger.addHandler(self.handler)

    def write(self, line: str) -> None:
        """Write a line that is not shown on the console."""
        self.handler.handle(logger.makeRecord("ppzoo", logging.INFO, "", 0, line, (), None))

    def close(self) -> None:
        logger.removeHandler(self.handler)
        self.handler.close()


class _LogFile(logging.FileHandler):
    """Appends to a file; the path must not be a link."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=open_without_links)
