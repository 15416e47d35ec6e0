"""The private interfaces of PaddlePaddle that ppzoo uses, in one place.

They are not part of PaddlePaddle's public interface and can change in any release. `RELEASES` in ppzoo/installation.py
and docs/versions.md name the supported versions, and those that were tested (2.6.2 and 3.3.1). With versions that
are not supported, an error is raised before this module is imported. `native.momentum.Momentum` also reads attributes
of its base class `paddle.optimizer.Momentum`.
"""

from __future__ import annotations

from collections.abc import Callable

from paddle import Tensor, _C_ops
from paddle.base import core, framework
from paddle.jit.sot.psdb import in_sot

__all__ = [
    "NO_AMP",
    "add_gradient_hook",
    "array_memory",
    "dygraph_tracer",
    "in_dygraph_mode",
    "in_sot",
    "load_op_library",
    "run_custom_op",
    "sync_batch_norm",
    "transpose",
]

# Registers the operators of a shared library, which was compiled with PaddlePaddle's headers.
load_op_library = core.load_op_meta_info_and_register_op
# Runs a custom operator by name: run_custom_op("name", *inputs, *attributes) -> list of outputs.
run_custom_op = core.eager._run_custom_op
# paddle.transpose without the checks of its arguments.
transpose = _C_ops.transpose
# Batch norm with the statistics of all processes, on GPUs.
sync_batch_norm = _C_ops.sync_batch_norm_
# Returns the memory of an array from its `__dlpack__()`, for `_share_data_with` of a tensor's `get_tensor()`.
array_memory = core.from_dlpack
# Whether operators run immediately, unlike in a static program. `in_sot` returns whether `to_static` is tracing them.
in_dygraph_mode = framework.in_dygraph_mode
# The tracer's `_amp_level.value` is `NO_AMP` outside `paddle.amp.auto_cast`.
dygraph_tracer = framework._dygraph_tracer
NO_AMP = core.AmpLevel.O0.value


def add_gradient_hook(parameter: Tensor, hook: Callable[[], None]) -> None:
    """Call `hook` in each backward pass, as soon as the gradient of a parameter is complete in `parameter.grad`."""
    parameter._register_backward_hook(lambda *_: hook())
