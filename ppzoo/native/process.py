"""What the process needs set before PaddlePaddle starts: thread counts, an allocator that keeps its memory, UTF-8.

PaddlePaddle computes with one thread unless told otherwise, and glibc hands every large tensor back to the system and
faults fresh pages in at the next step: 1.3 million page faults in a short training against 0.4 with the thresholds
below. All of them are read when a process starts; a program that finds some missing starts itself anew with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ppzoo.host import usable_cores

# glibc's malloc: from which size it asks the system for a mapping of its own, how much free memory it keeps, and how
# much more than needed it asks for (mallopt(3)).
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
SET = "PPZOO_PROCESS_SETTINGS"
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FLAGS_paddle_num_threads")


def launched_here(environment: Mapping[str, str]) -> int:
    """How many processes PaddlePaddle's launcher started on this machine; 1 without it."""
    host = environment.get("PADDLE_CURRENT_ENDPOINT", "").partition(":")[0]
    endpoints = environment.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    return max(1, sum(endpoint.partition(":")[0] == host for endpoint in endpoints))


def missing_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a training on the CPU should have and `environment` has not; what the user set stays.

    The processes of PaddlePaddle's launcher share the cores. It sets OMP_NUM_THREADS to 1 where the user did not.
    """
    if "PADDLE_TRAINER_ID" in environment and environment.get("OMP_NUM_THREADS") == "1" and SET not in environment:
        rest = {name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"}
        return missing_settings(rest)
    threads = environment.get("OMP_NUM_THREADS", str(max(1, usable_cores() // launched_here(environment))))
    wanted = dict.fromkeys(THREAD_COUNTS, threads)
    if sys.platform == "linux":
        wanted |= ALLOCATOR
    return {name: value for name, value in wanted.items() if name not in environment}


def prepare(*, computes: bool = True) -> None:
    """Start this program anew with the settings that it lacks, return where none is missing.

    Call it before anything imports paddle; `chosen_settings` tells afterwards what was set. The interpreter, its
    options and the program's arguments stay the same. Where file names are not UTF-8 for Python, as under an ASCII
    locale with PYTHONUTF8=0, its UTF-8 mode is turned on: configurations and lists name files in UTF-8.

    Args:
        computes: thread counts and allocator matter, too.
    """
    missing = missing_settings(os.environ) if computes else {}
    options = [] if sys.getfilesystemencoding().lower() == "utf-8" else ["-X", "utf8"]
    if not (missing or options):
        return
    settings = " ".join(f"{name}={value}" for name, value in missing.items())
    environment = {**os.environ, **missing, **({SET: settings} if missing else {})}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *options, *sys.orig_argv[1:]], environment)


def chosen_settings() -> str | None:
    """What `prepare` set for this process, as text; None where it set nothing."""
    return os.environ.get(SET)
