"""The mode of a network: training or evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from paddle import nn


@contextmanager
def evaluation_mode(network: nn.Layer) -> Iterator[None]:
    """Put all layers into evaluation mode, and each of them back into its own mode afterwards, also after an error."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        if was_training:
            network.train()  # sets PaddlePaddle's global mode, too
        for layer, training in modes:
            layer.training = training
