"""Automatic mixed precision (AMP): the forward pass runs in half precision; weights, losses and updates stay float32.

Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv:1710.03740. The weights are stored in
float32, also at level O2, so no master copies are needed, and a checkpoint is the same as without mixed precision.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import paddle

from ppzoo.errors import DeviceError, NotFiniteError
from ppzoo.native.operators import autocast_bfloat16

logger = logging.getLogger("ppzoo")

NO_CPU_OPERATORS = "PaddlePaddle has no half-precision operators for the CPU"


class GradScaler:
    """Loss scaling: it keeps small float16 gradients from becoming zero, and skips steps whose gradients overflow.

    The rule is that of `paddle.amp.GradScaler`, which does not work on the CPU and does not report skipped steps: the
    scale is halved after an overflow and doubled after `INTERVAL` steps without one.

    Args:
        scale: the initial factor on the loss.
        dynamic: whether the factor changes during training.

    Attributes:
        good: number of steps since the last overflow or doubling.
        skipped: number of skipped steps; `in_a_row`: number of steps skipped since the last one that was not skipped.
    """

    INTERVAL = 2000
    MAX_SKIPPED_IN_A_ROW = 30

    def __init__(self, scale: float = 1.0, dynamic: bool = False) -> None:
        self.scale, self.dynamic = float(scale), dynamic
        self.good = self.skipped = self.in_a_row = 0

    def unscale(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Divide the gradients by the scale, in place."""
        if self.scale != 1:
            with paddle.no_grad():
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad.scale_(1 / self.scale)

    def update(self, is_finite: bool, step: int) -> None:
        """Count a step and choose the scale of the next one.

        Args:
            is_finite: whether the gradients were finite; the step was skipped if not.
            step: number of the step in the run, from 1, for the log.

        Raises:
            NotFiniteError: `MAX_SKIPPED_IN_A_ROW` steps in a row were skipped.
        """
        if is_finite:
            self.good, self.in_a_row = self.good + 1, 0
            if self.dynamic and self.good == self.INTERVAL:
                self.scale, self.good = self.scale * 2, 0
            return
        self.skipped, self.in_a_row, self.good = self.skipped + 1, self.in_a_row + 1, 0
        if self.in_a_row == self.MAX_SKIPPED_IN_A_ROW:
            raise NotFiniteError(
                f"the gradients overflowed in {self.in_a_row} steps in a row: lower the learning rate in Optimizer.lr,"
                " or set AMP.dtype to bfloat16"
            )
        before = self.scale
        if self.dynamic:
            self.scale /= 2
        logger.info("skipping step %d: gradients overflowed (scale %g -> %g)", step, before, self.scale)

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "good": self.good, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scale, self.good = float(state["scale"]), int(state["good"])
        if not 0 < self.scale < math.inf:
            raise ValueError(f"expected the loss scale to be a number above 0, got {self.scale}")
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])


class MixedPrecision:
    """The precision of the forward pass; float32 by default.

    Args:
        autocast: returns the context of a forward pass in training.
        eval_autocast: the same for evaluation.
        grad_scaler: scales the loss; None where gradients have the range of float32.
    """

    def __init__(
        self,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        eval_autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        self.autocast, self.eval_autocast, self.grad_scaler = autocast, eval_autocast, grad_scaler

    def scale(self, loss: paddle.Tensor, factor: float = 1.0) -> paddle.Tensor:
        """Return the loss times `factor` and the scale of the gradient scaler."""
        factor *= self.grad_scaler.scale if self.grad_scaler else 1.0
        return loss if factor == 1 else loss * factor

    def unscale(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Divide the gradients by the scale of the gradient scaler, in place."""
        if self.grad_scaler is not None:
            self.grad_scaler.unscale(parameters)


def choose_mixed_precision(
    *,
    level: str,
    dtype: str,
    scale: float,
    dynamic: bool,
    promote: bool = False,
    evaluation: bool = False,
    find_cpu_obstacle: Callable[[], str | None] = lambda: NO_CPU_OPERATORS,
) -> MixedPrecision:
    """Build mixed precision for the selected device.

    On the CPU, training uses bfloat16 if it is requested and possible, and float32 otherwise; the choice is logged.
    `level` has no effect on the CPU, and evaluation uses float32.

    Args:
        level: "O1": only operators that benefit run in half precision; "O2": all but those that would lose accuracy.
        dtype: "float16", or "bfloat16", which has the range of float32 and needs no loss scaling.
        scale, dynamic: see `GradScaler`.
        promote: at O2, compute in float32 where one of several inputs is float32.
        evaluation: evaluate in half precision, too.
        find_cpu_obstacle: returns why the network cannot be trained in bfloat16 on the CPU; None if it can.

    Raises:
        DeviceError: the GPU does not support `dtype`.
    """
    if paddle.get_device() == "cpu":
        obstacle = find_cpu_obstacle() if dtype == "bfloat16" else NO_CPU_OPERATORS
        if obstacle is not None:
            logger.info("AMP: using float32: %s", obstacle)
            return MixedPrecision()
        logger.info("AMP: training in bfloat16 with native CPU operators; evaluation uses float32")
        return MixedPrecision(autocast_bfloat16)
    supported = {"float16": paddle.amp.is_float16_supported, "bfloat16": paddle.amp.is_bfloat16_supported}[dtype]
    if not supported():
        raise DeviceError(f"AMP.dtype: this device does not support {dtype}; set AMP.use_amp to False")

    def autocast() -> AbstractContextManager[Any]:
        return paddle.amp.auto_cast(level=level, dtype=dtype, use_promote=promote)

    grad_scaler = GradScaler(scale, dynamic) if dtype == "float16" else None
    return MixedPrecision(autocast, autocast if evaluation else nullcontext, grad_scaler)
