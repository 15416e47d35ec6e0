"""The exponential moving average of the weights: smoother than the weights themselves, and often better.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; with the decay's warm-up of
TensorFlow's `ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle

from ppzoo import native
from ppzoo.native import operators


class ExponentialMovingAverage:
    """average = d * average + (1 - d) * weights after each update; running statistics are averaged too.

    Args:
        model: its weights of now are the first average.
        decay: d.
        warmup: begin with a smaller d, min(decay, (1 + n) / (10 + n)) at update n, so that the first weights,
            which are random, are soon forgotten.

    Attributes:
        values: the averages by structured name, with the parameters' names.
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
        """Take in the weights of `model`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        pairs = [(self.values[name], value) for name, value in model.state_dict().items()]
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        for average, value in pairs:
            if not average.is_floating_point():
                average.set_value(value)
        with paddle.no_grad():
            _blend([average for average, _ in numbers], [value for _, value in numbers], decay)

    def take(self, model: paddle.nn.Layer) -> None:
        """Make the weights of `model` the average."""
        for name, value in model.state_dict().items():
            self.values[name].set_value(value)

    @contextmanager
    def applied(self, model: paddle.nn.Layer) -> Iterator[None]:
        """Meanwhile `model` has the averaged weights."""
        own = model.state_dict()
        kept = {name: value.detach().clone() for name, value in own.items()}
        try:
            for name, value in own.items():
                value.set_value(self.values[name])
            yield
        finally:
            for name, value in own.items():
                value.set_value(kept[name])


def _blend(averages: list[paddle.Tensor], values: list[paddle.Tensor], decay: float) -> None:
    if native.is_enabled() and operators.are_contiguous_float32(averages) and operators.are_contiguous_float32(values):
        operators.update_ema(averages, values, keep=decay, take=1 - decay)
        return
    for average, value in zip(averages, values, strict=True):
        average.scale_(decay)
        average.add_(value.detach() * (1 - decay))
