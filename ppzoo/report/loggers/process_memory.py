"""The memory that this process uses."""

from __future__ import annotations

import os
from pathlib import Path

MEGABYTE = 1 << 20
STATM = Path("/proc/self/statm")


def read_memory() -> dict[str, float]:
    """Return the resident memory of this process in MB, and that allocated on its GPU, if it uses one.

    The resident memory is missing if the system is not Linux and the package psutil is not installed.
    """
    import paddle

    resident = _resident_bytes()
    found = {} if resident is None else {"memory_mb": resident / MEGABYTE}
    if paddle.get_device().startswith("gpu"):
        found["gpu_memory_mb"] = paddle.device.cuda.memory_allocated() / MEGABYTE
    return found


def _resident_bytes() -> int | None:
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):  # not Linux
        pass
    try:
        import psutil  # VisualDL requires it
    except ImportError:
        return None
    return psutil.Process().memory_info().rss
