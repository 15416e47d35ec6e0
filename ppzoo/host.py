"""What this machine offers: cores, instruction sets, a folder for what is kept between runs; and limits of sizes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ppzoo.errors import ConfigError

MAX_PIXELS = 178_000_000  # of an image, decoded or made by a transform
MAX_CLASSES = 1_000_000  # each has a row of weights in the network's last layer, of up to 4,096 numbers: 16 GB


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def instruction_sets() -> str:
    """The processor's own list of what it can do: code made for one processor may not run on another."""
    return _read_cpuinfo("flags", "Features")


def processor_name() -> str:
    """The processor's model as it says it."""
    return _read_cpuinfo("model name", "CPU part")


def cache_home() -> Path:
    """The folder for what ppzoo keeps between runs: `$PPZOO_HOME`, ~/.cache/ppzoo by default.

    Raises:
        ConfigError: this user has no home folder, and PPZOO_HOME does not name another one.
    """
    return expanded(os.environ.get("PPZOO_HOME") or "~/.cache/ppzoo", "set PPZOO_HOME to a folder that can be written")


def expanded(path: str, fix: str) -> Path:
    """A path whose leading `~` is replaced by the home folder.

    Raises:
        ConfigError: there is none, with what to do about it.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # HOME is not set, and the system does not know the user
        raise ConfigError(f"{path}: expected a home folder, got none (HOME is not set): {fix}") from error


def _read_cpuinfo(*keys: str) -> str:
    """The first line about one of `keys` in Linux's description of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(keys)), platform.processor())
