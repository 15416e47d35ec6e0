"""The loggers of a run: a logger that fails is switched off, and the run continues without it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppzoo.errors import ConfigError, PpzooError, describe_os_error, one_line
from ppzoo.report.loggers.base import LOGGERS, Logger, RunStart

logger = logging.getLogger("ppzoo")

INSTALL = {  # how the packages of loggers are installed
    "visualdl": "`pip install visualdl`",
    "tensorboard": "`pip install 'ppzoo[tensorboard]'` (in a clone: `pip install -e '.[tensorboard]'`)",
}


def check_logger_names(names: Iterable[str]) -> None:
    """Check the names in `Global.loggers`.

    Raises:
        ConfigError: a logger is not registered, or is named twice.
    """
    names = list(names)
    for name in names:
        try:
            LOGGERS[name]
        except ConfigError as error:
            raise ConfigError(f"Global.loggers: {error.line}") from error
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise ConfigError(f"Global.loggers: expected different loggers, got {repeated!r} twice; remove one")


class LoggerGroup:
    """Makes loggers, and calls all of them that have not failed.

    Args:
        names: names in `LOGGERS`.

    Attributes:
        active: the loggers that have not failed, by name.
    """

    def __init__(self, names: Iterable[str], start: RunStart) -> None:
        self.active: dict[str, Logger] = {}
        for name in names:
            # Loggers can be written by users, and can raise anything. This and `call` are the only places that call
            # them.
            try:
                self.active[name] = LOGGERS[name](start)
            except ImportError as error:
                fix = f"; run {INSTALL[name]}" if name in INSTALL else ""
                logger.warning("logger %s is not used: %s%s", name, one_line(error), fix)
            except Exception as error:
                logger.warning("logger %s is not used, the run continues without it: %s", name, _describe(error))

    def call(self, method: str, *arguments: Any) -> None:
        """Call a method of all active loggers, and switch off those that raise an exception."""
        for name, one in list(self.active.items()):
            try:
                getattr(one, method)(*arguments)
            except Exception as error:  # loggers can raise anything; an interruption is no Exception
                del self.active[name]
                logger.warning("logger %s is switched off, the run continues without it: %s", name, _describe(error))
                if method != "close":
                    self._close(one)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Switch all loggers off if preparing what they log raises an exception, for instance for a missing font."""
        try:
            yield
        except Exception as error:  # what only observes a run must not stop it
            reason = describe_os_error(error) if isinstance(error, OSError) else _describe(error)
            logger.warning("the loggers are switched off, the run continues without them: %s", reason)
            self.close()

    def close(self) -> None:
        self.call("close")
        self.active.clear()

    @staticmethod
    def _close(failed: Logger) -> None:
        with suppress(Exception):  # its first error was logged
            failed.close()


def _describe(error: Exception) -> str:
    """Return the message of an exception, and where it was raised unless it is an `OSError` or an error of ppzoo."""
    if isinstance(error, OSError):
        return f"cannot write {describe_os_error(error)}"
    if isinstance(error, PpzooError):
        return error.line
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (line {frames[-1].lineno} of {Path(frames[-1].filename).name})" if frames else ""
    return one_line(f"{type(error).__name__}: {error}{where}")
