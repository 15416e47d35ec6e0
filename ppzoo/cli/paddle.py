"""Importing PaddlePaddle for a command."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re

from ppzoo.cli.streams import print_error
from ppzoo.errors import ConfigError
from ppzoo.installation import require_paddle

THREADS = "OMP_NUM_THREADS"
MAX_THREADS = 4096  # with very large numbers PaddlePaddle's OpenMP library crashes


def import_paddle() -> None:
    """Import PaddlePaddle, without its log messages except errors (GLOG_minloglevel=0 shows all).

    Its warning about several OpenMP threads is not printed: it concerns data-parallel training only.

    Raises:
        ConfigError: OMP_NUM_THREADS is too large.
        DeviceError: PaddlePaddle is not installed, or of a version that is not supported.
    """
    threads = re.match(r"\s*0*([0-9]+)", os.environ.get(THREADS, ""))
    if threads and int(threads[1][:9]) > MAX_THREADS:
        raise ConfigError(f"{THREADS}: expected at most {MAX_THREADS} threads, got {os.environ[THREADS]!r:.60}")
    require_paddle()
    os.environ.setdefault("GLOG_minloglevel", "2")
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        import paddle  # noqa: F401
    for handler in list(logging.root.handlers):
        if getattr(handler, "stream", None) is printed:  # PaddlePaddle's: log messages would be lost
            logging.root.removeHandler(handler)
    for line in printed.getvalue().splitlines():
        if THREADS not in line:
            print_error(line)
