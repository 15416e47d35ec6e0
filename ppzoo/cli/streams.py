"""Standard input, output and error as a command needs them: open, and quiet once nobody reads what is printed."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from typing import TextIO

from ppzoo.errors import describe_os_error


class LostOutput(OSError):
    """Standard output cannot be written."""


class _Descriptor(io.FileIO):
    """Standard output's file, whose errors say that they are its own."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise LostOutput(*error.args) from error


def open_streams() -> None:
    """Connect streams that the shell closed (`>&-`) with /dev/null; the next files opened would get their numbers.

    What is printed to standard output never fails for a character that its encoding lacks.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    stdout = sys.stdout
    if stdout is not sys.__stdout__ or not isinstance(stdout, io.TextIOWrapper):
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(stdout.fileno(), "w", closefd=False)),
        encoding=stdout.encoding,
        errors="backslashreplace",  # the names of files may not be text
        line_buffering=stdout.isatty(),
    )


def is_utf8_output() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower() == "utf-8"


def print_error(text: object) -> None:
    """Print a line to standard error, if it can be written."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def report_lost_output(error: LostOutput) -> int:
    """The exit status of a command whose output is lost.

    A reader that has gone (`| head`) ends the command quietly, as it ends other Unix programs.
    """
    _discard(sys.stdout)
    if error.errno == errno.EPIPE:
        return 128 + signal.SIGPIPE
    print_error(f"error: cannot write to standard output: {describe_os_error(error)}")
    return 1


def flush_streams(status: int) -> int:
    """Write what is still buffered; the exit status, which is another one where that fails."""
    try:
        sys.stdout.flush()
    except LostOutput as error:
        status = report_lost_output(error)
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return status


def _discard(stream: TextIO) -> None:
    """Let everything written to a stream from here on vanish; Python flushes its streams again at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
