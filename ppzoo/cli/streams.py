"""Standard input, output and error as a command needs them: open, and quiet once nobody reads what is printed."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress

from ppzoo.errors import describe_failure


def open_closed_streams() -> None:
    """Connect streams that the shell closed (`>&-`) with /dev/null; the next files opened would get their numbers.

    What is printed to standard output never fails for a character that its encoding lacks.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the names of files may not be text


def complain(text: object) -> None:
    """Print a line to standard error, if it can be written."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def lost_output() -> int | None:
    """The exit status where standard output cannot be written; None where it can.

    A reader that has gone (`| head`) ends the command quietly, as it ends other Unix programs.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(1)
        return 128 + signal.SIGPIPE
    except OSError as error:
        _discard(1)
        complain(f"error: cannot write to standard output: {describe_failure(error)}")
        return 1
    return None


def flush_streams(status: int) -> int:
    """Write what is still buffered; the exit status, which is another one where that fails."""
    lost = lost_output()
    try:
        sys.stderr.flush()
    except OSError:
        _discard(2)
    return status if lost is None else lost


def _discard(number: int) -> None:
    """Let everything written to a file descriptor from here on vanish; Python flushes its streams again at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
