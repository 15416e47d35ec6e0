"""Standard input, output and error of a command: they are always open, and lost output does not cause a traceback."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from ppzoo.errors import describe_os_error

if TYPE_CHECKING:
    from typing_extensions import Buffer

SIGPIPE = int(getattr(signal, "SIGPIPE", 13))  # Windows has none


class LostOutput(OSError):
    """Standard output cannot be written."""


class _Descriptor(io.FileIO):
    """Standard output's file; its errors are raised as `LostOutput`."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise LostOutput(*error.args) from error


def open_streams() -> None:
    """Connect streams that the shell closed (`>&-`) to the null device, so that no other file gets their descriptors.

    Characters that the encoding of standard output lacks are printed as escapes.
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
        errors="backslashreplace",  # names of files need not be valid text
        line_buffering=stdout.isatty(),
    )


def is_utf8_output() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower() == "utf-8"


def print_error(text: object) -> None:
    """Print a line to standard error; a failure to write is ignored."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def report_lost_output(error: LostOutput) -> int:
    """Return the exit status of a command whose output cannot be written.

    Where the reader has ended (`| head`), nothing is printed, as is usual for Unix programs.
    """
    _discard(sys.stdout)
    if error.errno == errno.EPIPE:
        return 128 + SIGPIPE
    print_error(f"error: cannot write to standard output: {describe_os_error(error)}")
    return 1


def flush_streams(status: int) -> int:
    """Write what is still buffered; return `status`, or another exit status if standard output fails."""
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
    """Redirect a stream to the null device, since Python flushes its streams again at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
