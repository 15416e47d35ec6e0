"""Environment settings that a process needs before PaddlePaddle is imported: threads, memory allocator, UTF-8 mode.

PaddlePaddle uses one thread by default. glibc returns the memory of every large tensor to the system, so that the next
step causes page faults: 1.3 million in a short training, compared with 0.4 million with the settings below.
These variables are read when a process starts, so a program in which some are not set restarts itself with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ppzoo.host import usable_cores

# glibc's malloc (mallopt(3)): the size from which it uses mmap, the free memory that it keeps, and the amount by which
# it grows the heap beyond a request.
ALLOCATOR_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
APPLIED_VARIABLE = "PPZOO_PROCESS_SETTINGS"
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FLAGS_paddle_num_threads")


def count_local_processes(environment: Mapping[str, str]) -> int:
    """Return the number of processes that PaddlePaddle's launcher started on this machine; 1 without it."""
    host = environment.get("PADDLE_CURRENT_ENDPOINT", "").partition(":")[0]
    endpoints = environment.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    return max(1, sum(endpoint.partition(":")[0] == host for endpoint in endpoints))


def find_missing_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for computing on the CPU that are not set in `environment`, with their values.

    The processes of PaddlePaddle's launcher share the cores. The launcher sets OMP_NUM_THREADS to 1 if the user did not
    set it; that value is replaced.
    """
    if (
        "PADDLE_TRAINER_ID" in environment
        and environment.get("OMP_NUM_THREADS") == "1"
        and APPLIED_VARIABLE not in environment
    ):
        rest = {name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"}
        return find_missing_settings(rest)
    threads = environment.get("OMP_NUM_THREADS", str(max(1, usable_cores() // count_local_processes(environment))))
    settings = dict.fromkeys(THREAD_COUNTS, threads)
    if sys.platform == "linux":
        settings |= ALLOCATOR_SETTINGS
    return {name: value for name, value in settings.items() if name not in environment}


def restart_with_settings(*, computes: bool = True) -> None:
    """Restart this program with its missing settings; return if none is missing.

    Call it before paddle is imported. In the new process, `read_applied_settings` returns what was set. The
    interpreter, its options and the arguments of the program stay the same. If Python does not use UTF-8 for file
    names, as with an ASCII locale and PYTHONUTF8=0, its UTF-8 mode is turned on: configurations and image lists contain
    UTF-8 names.

    Args:
        computes: whether the program runs networks: also set the variables for threads and memory allocator.
    """
    missing = find_missing_settings(os.environ) if computes else {}
    options = [] if sys.getfilesystemencoding().lower() == "utf-8" else ["-X", "utf8"]
    if not (missing or options):
        return
    settings = " ".join(f"{name}={value}" for name, value in missing.items())
    environment = {**os.environ, **missing, **({APPLIED_VARIABLE: settings} if missing else {})}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *options, *sys.orig_argv[1:]], environment)


def read_applied_settings() -> str | None:
    """Return what `restart_with_settings` set for this process, as text; None if it set nothing."""
    return os.environ.get(APPLIED_VARIABLE)
