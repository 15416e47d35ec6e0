"""Access to private interfaces of PaddlePaddle, for the other modules.

They are not part of PaddlePaddle's public interface and can change in any release. `RELEASES` in ppzoo/installation.py
and docs/versions.md name the supported versions, and those that were tested (2.6.2 and 3.3.1). With versions that
are not supported, an error is raised before this module is imported.

These modules use further private interfaces directly. All but the last one do so because they are part of the training
step, which further function calls would slow:

- Networks and layers read `_sub_layers` and `_parameters`, which they inherit from `paddle.nn.Layer`.
- layers/native_layers.py and layers/squeeze_excite.py read attributes of classes that are derived from PaddlePaddle's
  layers, and their hooks; native/momentum.py those of `paddle.optimizer.Momentum`, and `_coeff` of `L2Decay`.
- native/operators.py reads `_amp_level` of the tracer.
- backports.py changes parts of PaddlePaddle 2.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import paddle
from paddle import ParamAttr, Tensor, _C_ops, nn
from paddle.base import core, framework
from paddle.jit.sot.psdb import in_sot

__all__ = [
    "NO_AMP",
    "ConvOptions",
    "add_gradient_hook",
    "conv_options",
    "dygraph_tracer",
    "in_dygraph_mode",
    "in_sot",
    "load_op_library",
    "norm_epsilon",
    "parameter_attributes",
    "run_custom_op",
    "running_statistics",
    "set_multi_precision",
    "share_memory",
    "sync_batch_norm",
    "transpose",
    "use_running_statistics",
]

# Registers the operators of a shared library, which was compiled with PaddlePaddle's headers.
load_op_library = core.load_op_meta_info_and_register_op
# Runs a custom operator by name: run_custom_op("name", *inputs, *attributes) -> list of outputs.
run_custom_op = core.eager._run_custom_op
# paddle.transpose without the checks of its arguments.
transpose = _C_ops.transpose
# Batch norm with the statistics of all processes, on GPUs.
sync_batch_norm = _C_ops.sync_batch_norm_
# Whether operators run immediately, unlike in a static program. `in_sot` returns whether `to_static` is tracing them.
in_dygraph_mode = framework.in_dygraph_mode
# The tracer's `_amp_level.value` is `NO_AMP` outside `paddle.amp.auto_cast`.
dygraph_tracer = framework._dygraph_tracer
NO_AMP = core.AmpLevel.O0.value


def add_gradient_hook(parameter: Tensor, hook: Callable[[], None]) -> None:
    """Call `hook` in each backward pass, as soon as the gradient of a parameter is complete in `parameter.grad`."""
    parameter._register_backward_hook(lambda *_: hook())


def share_memory(tensor: Tensor, array: np.ndarray) -> None:
    """Let a tensor on the CPU, whose dtype is that of `array`, take over the memory and the shape of `array`."""
    tensor.get_tensor()._share_data_with(core.from_dlpack(array.__dlpack__()))


class ConvOptions(NamedTuple):
    """The arguments of a convolution's constructor; numbers for height and width are lists, except in `padding`."""

    in_channels: int
    out_channels: int
    kernel_size: list[int]
    stride: list[int]
    padding: int | list[int] | str
    padding_mode: str
    dilation: list[int]
    groups: int
    data_format: str


def conv_options(conv: nn.Conv2D) -> ConvOptions:
    return ConvOptions(
        conv._in_channels,
        conv._out_channels,
        conv._kernel_size,
        conv._stride,
        conv._padding,
        conv._padding_mode,
        conv._dilation,
        conv._groups,
        conv._data_format,
    )


def parameter_attributes(layer: nn.Conv2D | nn.Linear) -> tuple[ParamAttr | None, ParamAttr | None]:
    """Return the attributes of weight and bias that were passed to the constructor of a layer."""
    return (layer._param_attr if isinstance(layer, nn.Conv2D) else layer._weight_attr), layer._bias_attr


def norm_epsilon(norm: nn.Layer) -> float:
    """Return the number that a normalization adds to the variance."""
    return norm._epsilon


def running_statistics(norm: nn.BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the running mean and the running variance, C values each."""
    return norm._mean, norm._variance


def use_running_statistics(norm: nn.BatchNorm) -> None:
    """Let a batch norm normalize by its running statistics in training, too, and not update them."""
    norm._use_global_stats = True


def set_multi_precision(optimizer: paddle.optimizer.Optimizer, enabled: bool) -> None:
    """Set the option `multi_precision` of an optimizer whose constructor does not have it, but that supports it."""
    optimizer._multi_precision = enabled
