"""The mode of a network: training or evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from paddle import nn


@contextmanager
def evaluation_mode(network: nn.Layer) -> Iterator[None]:
    """Put a network into evaluation mode, and back into its own mode afterwards, also after an error."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        if was_training:
            network.train()
