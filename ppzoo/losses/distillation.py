"""Distillation losses; the output is a dictionary of network name -> output of the network."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, suggestion
from ppzoo.losses.base import LOSSES, logits_of
from ppzoo.losses.cross_entropy import CELoss


class _Distillation(CELoss):
    """Base of the distillation losses.

    Args:
        key: key of the logits if the output of a network is a dictionary; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
    """

    label_kind: str | None = None
    networks = "several"

    def __init__(self, *, key: str | None = None, epsilon: float | None = None, name: str | None = None) -> None:
        super().__init__(epsilon=epsilon)
        self.key = key
        self._name = name

    @property
    def name(self) -> str:
        return self._name or super().name

    def network_logits(self, output: dict[str, Any], network: str) -> paddle.Tensor:
        """Return the logits of one of the networks."""
        if network not in output:
            raise ConfigError(f"{type(self).__name__}: unknown network {network!r}{suggestion(network, output)}")
        if self.key is None:
            return logits_of(output[network])
        if not isinstance(output[network], dict):
            raise ConfigError(
                f"{type(self).__name__}.key: expected null, since {network} has one output, got {self.key!r}"
            )
        return logits_of(output[network][self.key])


@LOSSES.register
class DistillationCELoss(_Distillation):
    """Cross entropy of a student's logits with the softmax of a teacher's, summed over the pairs.

    Args:
        model_name_pairs: [student, teacher] names; the teacher gets no gradient.
        key: key of the logits if the output of a network is a dictionary; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
    """

    network_options = ("model_name_pairs",)

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        key: str | None = None,
        epsilon: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(key=key, epsilon=epsilon, name=name)
        if not model_name_pairs or any(len(pair) != 2 for pair in model_name_pairs):
            raise ConfigError(f"model_name_pairs: expected [[student, teacher], ...], got {model_name_pairs}")
        self.model_name_pairs = model_name_pairs

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        losses = []
        for student, teacher in self.model_name_pairs:
            target = F.softmax(self.network_logits(output, teacher).detach(), axis=-1)
            losses.append(super().__call__(self.network_logits(output, student), target))
        return sum(losses)


@LOSSES.register
class DistillationGTCELoss(_Distillation):
    """Cross entropy of networks' logits with the ground truth, summed over the networks.

    Args:
        model_names: names of the networks.
        key: key of the logits if the output of a network is a dictionary; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
    """

    label_kind = "single"
    network_options = ("model_names",)

    def __init__(
        self,
        *,
        model_names: list[str],
        key: str | None = None,
        epsilon: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(key=key, epsilon=epsilon, name=name)
        if not model_names:
            raise ConfigError("model_names: expected at least one network, got none")
        self.model_names = model_names

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        return sum(
            super(DistillationGTCELoss, self).__call__(self.network_logits(output, network), label)
            for network in self.model_names
        )
