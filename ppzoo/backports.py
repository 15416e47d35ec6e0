"""Workarounds for two bugs of PaddlePaddle 2.6, applied on import by the packages that need them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import paddle

from ppzoo.installation import release_of


@cache
def apply_backports() -> None:
    """Work around the bugs in this process if PaddlePaddle is 2.6."""
    release = release_of(paddle.__version__)
    if release is not None and not release.sot:
        _exclude_from_sot()
        _keep_loaded_optimizer_state()


def _exclude_from_sot() -> None:
    """Exclude ppzoo's code from SOT, the bytecode compiler of `to_static(full_graph=False)`.

    ppzoo's code then runs uncompiled. The compiler drops keyword-only arguments, and the process can crash when it
    compiles a native operator.
    """
    try:
        from paddle.jit.sot.opcode_translator import skip_files
    except ImportError:  # the compiler of PaddlePaddle 2.6 supports no Python after 3.11
        return
    skip_files.skip_file_names.add(f"{Path(__file__).parent}{os.sep}")
    skip_files.setup_skip_files()


def _keep_loaded_optimizer_state() -> None:
    """Let `state_dict` of an optimizer that has made no step yet contain the state that `set_state_dict` loaded."""
    optimizer = paddle.optimizer.Optimizer
    original = optimizer.state_dict

    def state_dict(self: Any) -> dict[str, Any]:
        loaded = {} if self._accumulators else self._accumulators_holder
        return {**loaded, **original(self)}

    optimizer.state_dict = state_dict
