"""The exponential moving average (EMA) of the weights: smoother than the weights themselves, and often more accurate.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; with the decay warm-up of
TensorFlow's `ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle

from ppzoo import native
from ppzoo.native import operators


class ExponentialMovingAverage:
    """average = d * average + (1 - d) * weights after each update.

    Running statistics are averaged, too; integers are copied.

    Args:
        model: its current weights are the initial average.
        decay: d.
        warmup: start with a smaller d, min(decay, (1 + n) / (10 + n)) at update n, so that the random initial weights
            soon lose their influence.

    Attributes:
        values: the averages by structured name; the `name` of each tensor is that of its parameter.
        updates: n.
    """

    def __init__(self, model: paddle.nn.Layer, decay: float, warmup: bool = True) -> None:
        self.decay, self.warmup = decay, warmup
        self.values: dict[str, paddle.Tensor] = {}
        for name, value in model.state_dict().items():
            self.values[name] = value.detach().clone()
            self.values[name].name = value.name
        self.updates = 0

    def update(self, model: paddle.nn.Layer) -> None:
        """Update the averages with the weights of `model`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        pairs = [(self.values[name], value) for name, value in model.state_dict().items()]
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        for average, value in pairs:
            if not average.is_floating_point():
                average.set_value(value)
        with paddle.no_grad():
            _blend([average for average, _ in floating], [value for _, value in floating], decay)

    def copy_from(self, model: paddle.nn.Layer) -> None:
        """Set the averages to the weights of `model`."""
        for name, value in model.state_dict().items():
            self.values[name].set_value(value)

    @contextmanager
    def apply_to(self, model: paddle.nn.Layer) -> Iterator[None]:
        """Give `model` the averaged weights while the context is open, and its own weights back afterwards."""
        own = model.state_dict()
        backup = {name: value.detach().clone() for name, value in own.items()}
        try:
            for name, value in own.items():
                value.set_value(self.values[name])
            yield
        finally:
            for name, value in own.items():
                value.set_value(backup[name])


def _blend(averages: list[paddle.Tensor], values: list[paddle.Tensor], decay: float) -> None:
    if native.is_enabled() and operators.are_contiguous_float32(averages) and operators.are_contiguous_float32(values):
        operators.update_ema(averages, values, decay=decay, weight=1 - decay)
        return
    for average, value in zip(averages, values, strict=True):
        average.scale_(decay)
        average.add_(value.detach() * (1 - decay))
