"""Mixed precision: the network computes in half precision, and weights, losses and updates stay float32.

Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv:1710.03740. The weights are never cast for good, at
level O2 neither: they are their own master copies, and a checkpoint is the same as without mixed precision.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import paddle

from ppzoo.errors import DeviceError, NotFiniteError

logger = logging.getLogger("ppzoo")


class LossScaler:
    """Factor on the loss that keeps small float16 gradients from becoming zero; steps that overflow are left out.

    The rule is that of `paddle.amp.GradScaler`, which works on no CPU and says nothing of what it left out: halved
    after an overflow, doubled after `INTERVAL` steps without one.

    Args:
        scale: the factor at the start.
        dynamic: whether it changes.

    Attributes:
        good: steps since the last overflow or doubling.
        skipped: steps left out so far; `in_a_row` those since the last good one.
    """

    INTERVAL = 2000
    MOST_IN_A_ROW = 30

    def __init__(self, scale: float = 1.0, dynamic: bool = False) -> None:
        self.scale, self.dynamic = float(scale), dynamic
        self.good = self.skipped = self.in_a_row = 0

    def unscale(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Take the factor out of the gradients."""
        if self.scale != 1:
            with paddle.no_grad():
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad.scale_(1 / self.scale)

    def note(self, finite: bool) -> None:
        """Count a step whose gradients were finite or not, and choose the next one's factor.

        Raises:
            NotFiniteError: the gradients overflow again and again, so that the factor is not to blame.
        """
        if finite:
            self.good, self.in_a_row = self.good + 1, 0
            if self.dynamic and self.good == self.INTERVAL:
                self.scale, self.good = self.scale * 2, 0
            return
        self.skipped, self.in_a_row, self.good = self.skipped + 1, self.in_a_row + 1, 0
        if self.in_a_row == self.MOST_IN_A_ROW:
            raise NotFiniteError(f"the gradients overflowed at {self.in_a_row} steps in a row")
        if self.dynamic:
            self.scale /= 2
        logger.info(
            "the gradients overflowed: the step is left out (%d so far), the loss is scaled by %g from here on",
            self.skipped,
            self.scale,
        )

    def state(self) -> dict[str, Any]:
        return {"scale": self.scale, "good": self.good, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.scale, self.good = float(state["scale"]), int(state["good"])
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])


class MixedPrecision:
    """In which numbers the network computes.

    Args:
        cast: makes the context of a training forward pass.
        eval_cast: the same of an evaluation.
        scaler: scales the loss; None where nothing can overflow that float32 would hold.
    """

    def __init__(
        self,
        cast: Callable[[], AbstractContextManager] = nullcontext,
        eval_cast: Callable[[], AbstractContextManager] = nullcontext,
        scaler: LossScaler | None = None,
    ) -> None:
        self.cast, self.eval_cast, self.scaler = cast, eval_cast, scaler

    def backward(self, loss: paddle.Tensor, share: float) -> None:
        """Add the gradients of `share` of the loss, scaled."""
        factor = share * (self.scaler.scale if self.scaler else 1.0)
        (loss if factor == 1 else loss * factor).backward()


def build_mixed_precision(
    *, level: str, dtype: str, scale: float, dynamic: bool, promote: bool = False, evaluation: bool = False
) -> MixedPrecision:
    """Mixed precision on the device in use; float32, which it says, on the CPU, which has no other operators.

    Args:
        level: "O1": what gains by it is computed in half precision; "O2": all but what would suffer.
        dtype: "float16", or "bfloat16", which has the range of float32 and needs no scaling of the loss.
        scale, dynamic: see `LossScaler`.
        promote: at O2, compute in float32 where one of several inputs is float32.
        evaluation: evaluate in half precision too.

    Raises:
        DeviceError: a GPU that cannot compute in `dtype`.
    """
    if paddle.get_device() == "cpu":
        logger.info("AMP: PaddlePaddle has no half-precision operators for the CPU; computing in float32 there")
        return MixedPrecision()
    supported = {"float16": paddle.amp.is_float16_supported, "bfloat16": paddle.amp.is_bfloat16_supported}[dtype]
    if not supported():
        raise DeviceError(f"AMP.dtype: this device cannot compute in {dtype}; set AMP.use_amp to False")

    def cast() -> AbstractContextManager:
        return paddle.amp.auto_cast(level=level, dtype=dtype, use_promote=promote)

    scaler = LossScaler(scale, dynamic) if dtype == "float16" else None
    return MixedPrecision(cast, cast if evaluation else nullcontext, scaler)
