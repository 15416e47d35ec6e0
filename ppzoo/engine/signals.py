"""Stopping when the system or the user asks for it: after the step that is under way, not in the middle of it."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from ppzoo.errors import Interrupted


class StopSignals:
    """While it is open, SIGTERM and SIGINT are noted in `requested`; a second one acts as it always did.

    Args:
        launched: PaddlePaddle's launcher started this process. It sends SIGTERM thrice within a second and SIGKILL
            when it has waited enough, so that further SIGTERM mean no more than the first.
    """

    def __init__(self, launched: bool = False) -> None:
        self.requested: int | None = None
        self._launched = launched
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if any(error):  # the process is about to end, and has something to say
            self._ignore_the_launcher()
        self._give_back()

    def interrupt(self) -> None:
        """
        Raises:
            Interrupted: always, with the exit status of the signal.
        """
        raise Interrupted(self.requested or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        self._ignore_the_launcher()
        self._give_back()

    def _ignore_the_launcher(self) -> None:
        if self._launched and self._before:
            self._before[signal.SIGTERM] = signal.SIG_IGN

    def _give_back(self) -> None:
        before, self._before = self._before, {}  # a signal may come meanwhile
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
