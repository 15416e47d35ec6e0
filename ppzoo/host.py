"""Facts about this machine (cores, processor, cache folder), and limits on the sizes of images and networks."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from ppzoo.files import expand_user

MAX_PIXELS = 178_000_000  # of an image that is decoded or that a transform returns
MAX_CHANNELS = 1024  # of the images that a network takes
MAX_CLASSES = 1_000_000  # each has a row of up to 4,096 weights in the last layer: 16 GB


def usable_cores() -> int:
    """Return the number of cores that this process can use; on macOS and Windows, all cores of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """Return how many bytes of memory can be allocated, within the limit of the container; None if not known."""
    try:
        sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE))
        available = int(sizes["MemAvailable"]) * 1024
    except (OSError, KeyError):  # not Linux
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = int(re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)[1])  # type: ignore[index]
    except (OSError, ValueError, TypeError):  # without a limit, or another version of control groups
        return available
    return min(available, max(limit - used + cached, 0))


def instruction_sets() -> str:
    """Return the line of /proc/cpuinfo with the instruction set extensions, such as "flags : fpu vme ...".

    On systems other than Linux, which do not have this file, the text is `platform.processor()`.
    """
    return _read_cpuinfo("flags", "Features")


def processor_name() -> str:
    """Return the line of /proc/cpuinfo that names the processor; without one, `platform.processor()`.

    The line is "model name : ..." on x86, and usually "CPU part : 0x..." on ARM.
    """
    return _read_cpuinfo("model name", "CPU part")


def cache_home() -> Path:
    """Return the folder for files that ppzoo keeps between runs: `$PPZOO_HOME`, by default ~/.cache/ppzoo.

    Raises:
        ConfigError: PPZOO_HOME is not set, and the user has no home folder.
    """
    fix = "set PPZOO_HOME to a writable folder"
    return Path(expand_user(os.environ.get("PPZOO_HOME") or "~/.cache/ppzoo", fix=fix))


def compiler_name() -> str:
    """Return the C++ compiler that the environment variable CXX names, or g++ if it is not set or empty."""
    return os.environ.get("CXX") or "g++"


def _read_cpuinfo(*keys: str) -> str:
    """Return the first line of /proc/cpuinfo that starts with one of `keys`; without one, `platform.processor()`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line for line in lines if line.startswith(keys)), platform.processor())
