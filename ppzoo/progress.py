"""Progress of long work with the time left: a bar on a terminal, else a log line from time to time.

Nothing is ever written to standard output.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from ppzoo import terminal
from ppzoo.errors import count_text, one_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

logger = logging.getLogger("ppzoo")

T = TypeVar("T")

MESSAGE_SECONDS = 30.0  # between two log lines without a terminal
BYTES = "B"

_is_quiet = False


def set_quiet(quiet: bool) -> None:
    """Show no progress from now on, or show it again."""
    global _is_quiet
    _is_quiet = quiet


def is_quiet() -> bool:
    return _is_quiet


def duration_text(seconds: float) -> str:
    """Format a duration as '1:02:03' or '2:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def track(
    items: Iterable[T],
    total: int | None,
    description: str,
    *,
    unit: str = "image",
    count: Callable[[T], int] = lambda item: 1,
    is_printed: bool = False,
) -> Iterator[T]:
    """Yield the items and show the progress.

    Args:
        total: number of units of all items; None if it is unknown.
        description: what is done, such as 'checking images'.
        unit: what is counted, in the singular.
        count: the number of units of an item, such as the images of a batch.
        is_printed: whether results are printed meanwhile; see `Progress`.
    """
    with Progress(total, description, unit=unit, is_printed=is_printed) as progress:
        yield from progress.track(items, count)


class Progress:
    """Shows the progress of work within a `with` statement; `advance` reports what is done.

    Args:
        total: number of units; None if it is unknown.
        description: what is done, such as 'checking images'.
        unit: what is counted, in the singular; "B" for bytes, which are shown as MB.
        done: number of units that were done before, such as by an interrupted download.
        is_printed: whether results are printed to standard output meanwhile; if that is a terminal, nothing is drawn.
    """

    def __init__(
        self, total: int | None, description: str, *, unit: str = "image", done: int = 0, is_printed: bool = False
    ) -> None:
        self.total, self.unit = total, unit
        self.description = one_line(description)
        self.done = self.done_before = done
        self.started = self.reported = time.monotonic()
        self.is_drawn, self.is_printed = False, is_printed

    def __enter__(self) -> Progress:
        self.started = self.reported = time.monotonic()
        hides_output = self.is_printed and sys.stdout is not None and sys.stdout.isatty()
        self.is_drawn = terminal.is_terminal() and not is_quiet() and not hides_output
        if self.is_drawn:
            terminal.display.add(self)
        return self

    def advance(self, count: int = 1) -> None:
        """Report that `count` more units are done."""
        self.done += count
        if self.is_drawn:
            terminal.display.refresh()
        elif time.monotonic() - self.reported >= MESSAGE_SECONDS and not is_quiet():
            self.reported = time.monotonic()
            logger.info("%s: %s", self.description, ", ".join(filter(None, [self.done_text(), self.left_text()])))

    def track(self, items: Iterable[T], count: Callable[[T], int] = lambda item: 1) -> Iterator[T]:
        """Yield the items; `count` returns the number of units of an item."""
        for item in items:
            yield item
            self.advance(count(item))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.is_drawn:
            terminal.display.remove(self)

    def done_text(self) -> str:
        """Return '120/500 images', or '3.2/16.0 MB'."""
        if self.unit == BYTES:
            of = "" if self.total is None else f"/{self.total / 1e6:.1f}"
            return f"{self.done / 1e6:.1f}{of} MB"
        if self.total is None:
            return count_text(self.done, self.unit)
        return f"{self.done}/{count_text(self.total, self.unit)}"

    def left_text(self) -> str:
        """Return '0:12 left'; '' as long as it is unknown."""
        done = self.done - self.done_before
        if self.total is None or not done:
            return ""
        left = max(self.total - self.done, 0) * (time.monotonic() - self.started) / done
        return f"{duration_text(left)} left"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fraction = None if not self.total else min(self.done / self.total, 1.0)
        yield terminal.bar_line(self.description, fraction, [self.done_text(), self.left_text()], options.max_width)
