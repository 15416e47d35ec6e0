"""Stopping when the system or the user asks for it: after the step that is under way, not in the middle of it."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from ppzoo.errors import Interrupted


class StopSignals:
    """While it is open, SIGTERM and SIGINT are noted in `requested`; a second one acts as it always did."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._give_back()

    def interrupt(self) -> None:
        """
        Raises:
            Interrupted: always, with the exit status of the signal.
        """
        raise Interrupted(self.requested or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()
