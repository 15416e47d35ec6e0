"""Forked processes with a time limit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable


def succeeds_when_forked(child: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether `child`, run in a forked process, returns true within some time."""
    process = os.fork()
    if process == 0:
        done = False
        try:
            done = child()
        finally:
            os._exit(0 if done else 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False
