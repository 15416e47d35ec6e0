"""A time limit on the meeting of the processes of a training: one that waits in vain reports it and ends.

PaddlePaddle waits in C++ code that holds Python's lock: neither a thread nor a signal handler of Python runs meanwhile.
So a child process prints, `faulthandler`, which has a thread of its own in C, ends this process with exit status 1, and
signals act as the system has them act.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ppzoo.launcher import VARIABLES, Launch

NOTICE = 5.0  # seconds of waiting after which it is reported
MARGIN = 0.5  # seconds by which the error is printed before the end


@contextmanager
def rendezvous_timeout(launch: Launch, seconds: float) -> Iterator[None]:
    """While it is open, the others must come within so many seconds, else the process ends with exit status 1."""
    parent = os.getpid()
    reporter = os.fork()
    if reporter == 0:
        _report(launch, seconds, parent)
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, signal.SIG_DFL)
    try:
        with open(os.devnull, "w") as nowhere:  # for the traceback that it prints
            faulthandler.dump_traceback_later(seconds + MARGIN, exit=True, file=nowhere)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        with contextlib.suppress(ProcessLookupError):
            os.kill(reporter, signal.SIGKILL)
        os.waitpid(reporter, 0)


def _report(launch: Launch, seconds: float, parent: int) -> None:
    """Print, in a process of its own, who is waited for, and that it was in vain; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    me = f"process {launch.rank} of {launch.size}"
    others = "process 0" if launch.rank else f"{launch.size - 1} other processes" if launch.size > 2 else "process 1"
    where = f"at {launch.master}"
    start = time.monotonic()
    lines = [
        (NOTICE, f"{me} waits for {others}, to meet {where}, for {seconds:g} seconds at most"),
        (
            seconds,
            f"error: {me}: {others} did not come to meet {where} within {seconds:g} seconds: look at the other"
            f" processes' logs; without paddle.distributed.launch, run `unset {' '.join(VARIABLES)}`",
        ),
    ]
    for moment, line in lines:
        if moment > seconds:
            continue
        while time.monotonic() - start < moment:
            if os.getppid() != parent:
                os._exit(0)
            time.sleep(0.1)
        with contextlib.suppress(OSError):
            os.write(2, f"{line}\n".encode())
    os._exit(0)
