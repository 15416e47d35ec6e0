"""Output of other programs, and versions of installed packages.

PaddlePaddle is imported in a separate process, so that a broken build is reported like any other problem.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from typing import Any

TIMEOUT = 300  # seconds; the first use of the native operators compiles them


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_report(code: str, absent: tuple[str, ...] = ()) -> tuple[Any, str | None]:
    """Run code in a new process and return the report that it prints.

    Args:
        absent: names of environment variables that are not set in the new process.

    Returns:
        The report and None, or None and why there is no report.
    """
    environment = {name: value for name, value in os.environ.items() if name not in absent}
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return None, f"no result within {TIMEOUT} s"
    for line in done.stdout.splitlines():
        if line.startswith("REPORT "):
            return json.loads(line.removeprefix("REPORT ")), None
    if done.returncode < 0:
        return None, f"the process was killed by signal {-done.returncode}"
    return None, next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")


def output(*command: str) -> str | None:
    """Return what a program prints; None if it does not exist, fails, or runs longer than 30 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
