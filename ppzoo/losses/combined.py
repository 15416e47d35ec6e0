"""Several losses as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import paddle

from ppzoo.errors import ConfigError
from ppzoo.losses.base import Loss


class CombinedLoss:
    """The sum of losses by their weights; a single loss is weighed too.

    Args:
        losses: pairs of a loss and its weight.

    Raises:
        ConfigError: no loss, or a weight that is not above 0.
    """

    def __init__(self, losses: Sequence[tuple[Loss, float]]) -> None:
        if not losses:
            raise ConfigError("expected one loss or more, got none")
        self.losses: dict[str, tuple[Loss, float]] = {}
        for loss, weight in losses:
            if not 0 < weight < math.inf:
                raise ConfigError(f"{loss.name}: expected a weight above 0, got {weight}")
            others = sum(other.name == loss.name for other, _ in self.losses.values())
            self.losses[f"{loss.name}_{others + 1}" if others else loss.name] = (loss, weight)

    def __call__(self, output: Any, label: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Each loss's weighed share under its name (a second one of a name ends in "_2"), and their sum as "loss"."""
        shares = {name: weight * loss(output, label) for name, (loss, weight) in self.losses.items()}
        return {**shares, "loss": sum(shares.values())}

    def weights(self, label: paddle.Tensor) -> dict[str, float]:
        """By each loss's name, the weight of a batch in the mean of its share over several batches."""
        return {name: loss.weight(label) for name, (loss, _) in self.losses.items()}
