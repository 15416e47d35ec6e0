"""Two defects of PaddlePaddle 2.6 that 3 has fixed. Whoever depends on a fix calls `backport` on import."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import paddle

from ppzoo.installation import release_of


@cache
def apply_backports() -> None:
    """Fix PaddlePaddle in this process where it is 2.6."""
    release = release_of(paddle.__version__)
    if release is not None and not release.sot:
        _keep_from_sot()
        _save_states_that_were_loaded()


def _keep_from_sot() -> None:
    """Let the bytecode compiler of `to_static(full_graph=False)` leave ppzoo's code alone, which then runs as it is.

    It loses keyword-only arguments, and cannot compile calls of native operators, at which the process may crash.
    """
    try:
        from paddle.jit.sot.opcode_translator import skip_files
    except ImportError:  # it knows no Python after 3.11
        return
    skip_files.skip_file_names.add(f"{Path(__file__).parent}{os.sep}")
    skip_files.setup_skip_files()


def _save_states_that_were_loaded() -> None:
    """Let an optimizer's `state_dict` hold what `set_state_dict` loaded, also before the first step."""
    optimizer = paddle.optimizer.Optimizer
    plain = optimizer.state_dict

    def state_dict(self: Any) -> dict[str, Any]:
        loaded = {} if self._accumulators else self._accumulators_holder
        return {**loaded, **plain(self)}

    optimizer.state_dict = state_dict
