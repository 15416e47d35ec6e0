"""What has to be installed beside ppzoo."""

from __future__ import annotations

import importlib.util

from ppzoo.errors import DeviceError


def require_paddle() -> None:
    """
    Raises:
        DeviceError: PaddlePaddle is not installed; says how to get it.
    """
    if importlib.util.find_spec("paddle") is None:
        raise DeviceError(
            "PaddlePaddle is not installed: run `pip install 'ppzoo[cpu]'` for the CPU"
            " or `pip install 'ppzoo[gpu]'` for a GPU (in a clone: `pip install -e '.[cpu]'`)"
        )
