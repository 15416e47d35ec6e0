"""The weighted sum of several losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import paddle

from ppzoo.errors import ConfigError
from ppzoo.losses.base import Loss


class CombinedLoss:
    """The weighted sum of losses; a single loss is weighted, too.

    Args:
        losses: pairs of a loss and its weight.
        network: name of the network whose output is passed to losses of a single network, if there are several
            networks; losses of several networks receive all outputs.

    Raises:
        ConfigError: no loss, or a weight that is not above 0.
    """

    def __init__(self, losses: Sequence[tuple[Loss, float]], *, network: str | None = None) -> None:
        if not losses:
            raise ConfigError("expected at least one loss, got none")
        self.network = network
        self.losses: dict[str, tuple[Loss, float]] = {}
        for loss, weight in losses:
            if not 0 < weight < math.inf:
                raise ConfigError(f"{loss.name}.weight: expected a number above 0, got {weight}")
            same_name = sum(other.name == loss.name for other, _ in self.losses.values())
            self.losses[f"{loss.name}_{same_name + 1}" if same_name else loss.name] = (loss, weight)

    def __call__(self, output: Any, label: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Return each weighted loss under its name (with "_2" if the name is taken), and their sum as "loss"."""
        own = output if self.network is None else output[self.network]
        weighted = {
            name: weight * loss(own if loss.networks == "one" else output, label)
            for name, (loss, weight) in self.losses.items()
        }
        return {**weighted, "loss": sum(weighted.values())}

    def weights(self, label: paddle.Tensor) -> dict[str, float]:
        """Return, for each loss by name, the weight of a batch in the mean over several batches."""
        return {name: loss.weight(label) for name, (loss, _) in self.losses.items()}
