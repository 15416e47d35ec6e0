"""A timeout for connecting the processes of a run: a process that waits too long for others prints an error and exits.

PaddlePaddle waits in C++ code that holds Python's global interpreter lock, so no thread and no signal handler of Python
can run. Therefore a child process prints the messages, a C thread of `faulthandler` ends this process with exit status
1, and signals have the system's default effect.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ppzoo.launcher import VARIABLES, Launch

NOTICE_DELAY = 5.0  # seconds after which a process reports that it waits
EXIT_DELAY = 0.5  # seconds between the error message and the exit

# Prints lines when they are due, until its parent ends or closes the pipe; arguments: start, [[seconds, line], ...].
_PRINTER = """
import json, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
start, lines = float(sys.argv[1]), json.loads(sys.argv[2])
end_of_pipe = threading.Thread(target=os.read, args=(0, 1), daemon=True)
end_of_pipe.start()
for seconds, line in lines:
    end_of_pipe.join(max(start + seconds - time.time(), 0))
    if time.time() < start + seconds:
        break
    os.write(2, line.encode() + b"\\n")
"""


@contextmanager
def rendezvous_timeout(launch: Launch, seconds: float) -> Iterator[None]:
    """End the process with exit status 1 if the context is open for more than `seconds`."""
    start = time.time()
    command = [sys.executable, "-I", "-S", "-c", _PRINTER, str(start), json.dumps(_messages(launch, seconds))]
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                handlers[number] = signal.signal(number, signal.SIG_DFL)
    try:
        with (
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL),
            open(os.devnull, "w") as null,  # for the traceback
        ):
            faulthandler.dump_traceback_later(seconds + EXIT_DELAY, exit=True, file=null)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _messages(launch: Launch, seconds: float) -> list[tuple[float, str]]:
    """Return the lines to print, each with the number of seconds after which it is due."""
    own = f"process {launch.rank} of {launch.size}"
    others = "process 0" if launch.rank else f"{launch.size - 1} other processes" if launch.size > 2 else "process 1"
    messages = [
        (NOTICE_DELAY, f"{own} waits for {others} at {launch.master}, for at most {seconds:g} seconds"),
        (
            seconds,
            f"error: {own}: {others} did not connect to {launch.master} within {seconds:g} seconds: see the logs of the"
            f" other processes; if paddle.distributed.launch is not used, run `unset {' '.join(VARIABLES)}`",
        ),
    ]
    return [(due, line) for due, line in messages if due <= seconds]
