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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fitting: set[str] = set()  # names of parameters that the native operator can update

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
        pairs = [(p, gradient) for p in self._param_groups if not p.stop_gradient and (gradient := p.grad) is not None]
        parameters = [parameter for parameter, _ in pairs]
        names = [parameter.name for parameter in parameters]
        penalties = [parameter.regularizer for parameter in parameters]
        fit = all(map(self._fits, parameters, names)) and all(isinstance(own, L2Decay | None) for own in penalties)
        if not pairs or not fit:
            return None
        if self._grad_clip is not None:  # it may write to the gradients: not before it is settled who makes the step
            pairs = self._grad_clip(pairs)
        rate, usual = np.float32(self.get_lr()), self._regularization_coeff
        factors = [parameter.optimize_attr["learning_rate"] for parameter in parameters]
        products = {factor: float(rate * np.float32(factor)) for factor in set(factors)}
        rates = [products[factor] for factor in factors]
        decays = [usual if own is None else own._coeff for own in penalties]
        gradients = [gradient for _, gradient in pairs]
        return parameters, gradients, [made[name] for name in names], rates, decays

    def _fits(self, parameter: Any, name: str) -> bool:
        """Whether the native operator can update this parameter; a yes is remembered, as asking takes its time."""
        if name not in self._fitting:
            velocity = self._accumulators[self._velocity_acc_str].get(name)
            if velocity is not None and operators.are_plain([parameter, velocity]):
                self._fitting.add(name)
        return name in self._fitting
