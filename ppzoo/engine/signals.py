"""Stops a run after its current step when the system or the user sends a signal."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from ppzoo.errors import Interrupted

# Windows sends SIGBREAK for Ctrl-Break; it has SIGTERM, too, but only Python's own `signal.raise_signal` sends that.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))


class StopSignals:
    """A context in which the first stop signal is recorded in `requested`; a second signal has its usual effect.

    Args:
        launched: whether PaddlePaddle's launcher started this process. The launcher sends SIGTERM three times within
            a second, and SIGKILL after a timeout; the second and later SIGTERM are then ignored.
    """

    def __init__(self, launched: bool = False) -> None:
        self.requested: int | None = None
        self._launched = launched
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if any(error):  # the process is about to end, and has yet to print its error
            self._ignore_launcher()
        self._restore_handlers()

    def interrupt(self) -> None:
        """Raise the error that ends the run.

        Raises:
            Interrupted: always; its exit status is that of the signal.
        """
        raise Interrupted(self.requested or signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        self._ignore_launcher()
        self._restore_handlers()

    def _ignore_launcher(self) -> None:
        if self._launched and self._handlers:
            self._handlers[signal.SIGTERM] = signal.SIG_IGN

    def _restore_handlers(self) -> None:
        handlers, self._handlers = self._handlers, {}  # a signal can arrive at any time
        for number, handler in handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
