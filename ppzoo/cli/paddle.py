"""Importing PaddlePaddle for a command."""

from __future__ import annotations

import contextlib
import io
import logging
import os

from ppzoo.cli.streams import print_error
from ppzoo.installation import require_paddle


def import_paddle() -> None:
    """Import PaddlePaddle, without its log messages (GLOG_minloglevel=0 shows them).

    Its warning about several OpenMP threads is not printed: it concerns data-parallel training only.

    Raises:
        DeviceError: it is not installed, or of a version that is not supported.
    """
    require_paddle()
    os.environ.setdefault("GLOG_minloglevel", "2")
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        import paddle  # noqa: F401
    for handler in list(logging.root.handlers):
        if getattr(handler, "stream", None) is printed:  # PaddlePaddle's: log messages would be lost
            logging.root.removeHandler(handler)
    for line in printed.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print_error(line)
