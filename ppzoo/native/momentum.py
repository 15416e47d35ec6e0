"""PaddlePaddle's Momentum whose step is one native operator over all parameters, to the bit the same.

Python and the overhead of operators make PaddlePaddle's step 3 ms long for the 158 tensors of MobileNetV2, where all of
a training step on small images takes 30 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle.regularizer import L2Decay

from ppzoo import native
from ppzoo.native import operators


class Momentum(paddle.optimizer.Momentum):
    """`paddle.optimizer.Momentum`, whose state and names are the same."""

    @paddle.no_grad()
    def step(self) -> None:
        """Update the parameters once."""
        terms = self._terms() if native.active() else None
        if terms is None:
            super().step()
            return
        operators.momentum_step(*terms, mu=self._momentum, nesterov=self._use_nesterov)

    def _terms(self) -> tuple[list[Any], list[Any], list[Any], list[float], list[float]] | None:
        """What the native operator takes; None where PaddlePaddle's own must do the step, as in the first one."""
        made = self._accumulators.get(self._velocity_acc_str)
        plain = not (made is None or isinstance(self._param_groups[0], dict) or self._use_multi_tensor)
        if not plain or self.regularization is not None or self._rescale_grad != 1.0:
            return None
        pairs = [(p, p.grad) for p in self._param_groups if not p.stop_gradient]
        pairs = [(parameter, gradient) for parameter, gradient in pairs if gradient is not None]
        if self._grad_clip is not None:
            pairs = self._grad_clip(pairs)
        rate, usual = np.float32(self.get_lr()), self._regularization_coeff
        velocities, rates, decays = [], [], []
        for parameter, gradient in pairs:
            own = parameter.regularizer
            velocity = made.get(parameter.name)
            fits = velocity is not None and parameter.dtype == gradient.dtype == velocity.dtype == paddle.float32
            if not fits or not (own is None or isinstance(own, L2Decay)) or not parameter.is_contiguous():
                return None
            velocities.append(velocity)
            rates.append(float(rate * np.float32(parameter.optimize_attr["learning_rate"])))
            decays.append(usual if own is None else own._coeff)
        if not pairs:
            return None
        return [p for p, _ in pairs], [g for _, g in pairs], velocities, rates, decays
