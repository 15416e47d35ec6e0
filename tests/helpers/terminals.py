"""A command that runs on a pseudo-terminal, and what its user sees."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

CONTROL = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


@dataclass
class Session:
    """The output of a command that has ended, and its exit status.

    Attributes:
        raw: what the terminal received.
        stdout: what standard output received, if that was no terminal.
    """

    raw: str
    stdout: str
    status: int
    columns: int

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, and those that were scrolled away."""
        return render(self.raw, self.columns)[0]

    @property
    def has_cursor(self) -> bool:
        return render(self.raw, self.columns)[1]


def run_on_terminal(
    command: Sequence[str],
    *,
    columns: int = 80,
    rows: int = 24,
    environment: Mapping[str, str] | None = None,
    stdout_is_terminal: bool = True,
    at: Callable[[str], int | None] = lambda raw: None,
    timeout: float = 120,
) -> Session:
    """Run Python with arguments on a pseudo-terminal.

    Args:
        at: is called with the output so far; a signal that it returns is sent, once.
    """
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    import fcntl
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    variables |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **(environment or {})}
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=slave,
        stdout=slave if stdout_is_terminal else writer,
        stderr=slave,
        env=variables,
        start_new_session=True,
    )
    os.close(slave)
    os.close(writer)
    received = {master: b"", reader: b""}
    end, sent, open_files = time.monotonic() + timeout, False, {master, reader}
    try:
        while open_files and time.monotonic() < end:
            for file in select.select(list(open_files), [], [], 0.1)[0]:
                try:
                    data = os.read(file, 65536)
                except OSError:  # how Linux reports the end of a terminal
                    data = b""
                received[file] += data
                if not data:
                    open_files.discard(file)
            number = None if sent else at(received[master].decode(errors="replace"))
            if number is not None:
                sent = True
                process.send_signal(number)
        assert not open_files, f"still running after {timeout} s: {received[master][-500:]!r}"
        status = process.wait(30)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(master)
        os.close(reader)
    return Session(received[master].decode(), received[reader].decode(), status, columns)


def render(raw: str, columns: int) -> tuple[list[str], bool]:
    """Return all lines that a terminal shows for its input, and whether the cursor is visible at the end."""
    lines: list[list[str]] = [[]]
    row, column, visible, position = 0, 0, True, 0
    while position < len(raw):
        found = CONTROL.match(raw, position)
        if found:
            position = found.end()
            count = int(found[2] or 1) if found[2].isdigit() or not found[2] else 1
            if found[3] == "A":
                row = max(0, row - count)
            elif found[3] == "K":
                lines[row] = [] if found[2] == "2" else lines[row][:column]
            elif found[1] and found[2] == "25":
                visible = found[3] == "h"
            else:
                assert found[3] == "m", f"unknown control sequence {found[0]!r}"
            continue
        character = raw[position]
        position += 1
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            if row == len(lines):
                lines.append([])
        else:
            assert character == "\t" or unicodedata.category(character) != "Cc", f"control character {character!r}"
            width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
            if column + width > columns:
                row, column = row + 1, 0
                if row == len(lines):
                    lines.append([])
            lines[row] += [" "] * (column - len(lines[row]))
            lines[row][column : column + width] = [character, *[""] * (width - 1)]
            column += width
    return ["".join(line).rstrip() for line in lines], visible
