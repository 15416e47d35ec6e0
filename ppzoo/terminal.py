"""The display at the bottom of the terminal while work runs; messages appear above it.

Drawing has no thread and never hides the cursor, so that nothing has to be undone when the process is killed. Where
standard error is no terminal, nothing is drawn.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

MIN_SECONDS = 0.25  # between two drawings
MIN_BAR, MAX_BAR = 8, 30  # columns
DUMB = ("dumb", "unknown")  # terminals that cannot move the cursor


def is_terminal() -> bool:
    """Return whether standard error is a terminal that can redraw lines."""
    if display.is_shown:  # rich has replaced sys.stderr
        return True
    try:
        return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in DUMB
    except (AttributeError, ValueError):  # there is no standard error, or it is closed
        return False


def is_utf8() -> bool:
    """Return whether standard error can show any character."""
    stream = display.live.console.file if display.live is not None else sys.stderr
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "") == "utf8"


def width() -> int:
    """Return the number of columns of the terminal; 80 where there is none."""
    return make_console().width if is_terminal() else 80


class Display:
    """Draws its parts below each other, as long as there are any."""

    def __init__(self) -> None:
        self.parts: list[RenderableType] = []
        self.live: Live | None = None
        self.drawn = 0.0
        self.pid = 0

    @property
    def is_shown(self) -> bool:
        return self.live is not None and self.pid == os.getpid()  # a forked process does not draw

    def add(self, part: RenderableType) -> None:
        """Draw `part` below the others from now on."""
        self.parts.append(part)
        if self.live is None:
            self.drawn = -math.inf
            self._start()
        self.refresh()

    def remove(self, part: RenderableType) -> None:
        """Stop drawing `part`; its lines are erased."""
        if part in self.parts:
            self.parts.remove(part)
        if self.parts:
            self.refresh()
        else:
            self.stop()

    def refresh(self) -> None:
        """Draw the current state, at most four times a second."""
        now = time.monotonic()
        if self.live is None or now - self.drawn < MIN_SECONDS or not self.is_shown:
            return
        self.drawn = now
        try:
            self.live.refresh()
        except (OSError, ValueError):  # the terminal is gone; the work continues
            self.stop()

    def print(self, *lines: RenderableType) -> bool:
        """Print lines above the drawing and return True; return False if nothing is drawn."""
        if self.live is None or not self.is_shown:
            return False
        try:
            for line in lines:
                self.live.console.print(line, soft_wrap=True)
        except (OSError, ValueError):
            self.stop()
            return False
        return True

    def stop(self) -> None:
        """Erase the drawing."""
        live, self.live, self.parts = self.live, None, []
        if live is not None and self.pid == os.getpid():
            with suppress(OSError, ValueError):
                live.stop()

    def _start(self) -> None:
        from rich.console import Group
        from rich.live import Live

        console = make_console()
        self.live = Live(
            console=console,
            get_renderable=lambda: Group(*self.parts),
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self.pid = os.getpid()
        try:
            self.live.start()
            console.show_cursor(True)
        except (OSError, ValueError):
            self.stop()


def make_console() -> Console:
    """Return a console on standard error that shows text as it is, without markup."""
    from rich.console import Console

    return Console(file=sys.stderr, force_terminal=True, highlight=False, markup=False, emoji=False)


def print_once(render: Callable[[int], RenderableType]) -> None:
    """Print what `render` returns for the width of the terminal; unlike the display, it is not erased."""
    console = make_console()
    with suppress(OSError, ValueError):  # the terminal is gone
        console.print(render(console.width))


def bar_line(label: str, fraction: float | None, values: Sequence[str], width: int) -> Text:
    """Return one line: label, bar and values, without the values for which the line is too short.

    Args:
        fraction: how much is done, from 0 to 1; None draws no bar.
        values: the most important first.
    """
    from rich.text import Text

    text = Text(label, no_wrap=True, overflow="ellipsis")
    shown = [value for value in values if value]
    while shown and len(text.plain) + sum(len(value) + 2 for value in shown) > width:
        shown.pop()
    available = width - text.cell_len - sum(len(value) + 2 for value in shown) - 2
    if fraction is not None and available >= MIN_BAR:
        columns = min(available, MAX_BAR)
        full = round(columns * fraction)
        line, rest = ("\u2501", "\u2500") if is_utf8() else ("#", "-")
        text.append("  ").append(line * full, "green").append(rest * (columns - full), "bright_black")
    for value in shown:
        text.append(f"  {value}")
    text.truncate(width, overflow="ellipsis" if is_utf8() else "crop")
    return text


display = Display()
atexit.register(display.stop)
