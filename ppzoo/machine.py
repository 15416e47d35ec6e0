"""What this machine offers: cores, the processor's instruction sets, a folder for what is kept between runs."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def instruction_sets() -> str:
    """The processor's own list of what it can do: code made for one processor may not run on another."""
    return _said_of_processor("flags", "Features")


def processor_name() -> str:
    """The processor's model as it says it."""
    return _said_of_processor("model name", "CPU part")


def home() -> Path:
    """The folder for what ppzoo keeps between runs: `$PPZOO_HOME`, ~/.cache/ppzoo by default."""
    return Path(os.environ.get("PPZOO_HOME") or "~/.cache/ppzoo").expanduser()


def _said_of_processor(*keys: str) -> str:
    """The first line about one of `keys` in Linux's description of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(keys)), platform.processor())
