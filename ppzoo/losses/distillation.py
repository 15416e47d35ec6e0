"""Losses of networks that learn from others; the output is a mapping from a network's name to what it answers."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, suggestion
from ppzoo.losses.base import LOSSES, logits_of
from ppzoo.losses.cross_entropy import CELoss


class _Distillation(CELoss):
    """What the two losses share.

    Args:
        key: key of the scores where a network answers a mapping; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        name: key of its share in the answer of `CombinedLoss`; the class's name by default.
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

    def answer_of(self, output: dict[str, Any], network: str) -> paddle.Tensor:
        """The class scores of one of the networks."""
        if network not in output:
            raise ConfigError(f"{type(self).__name__}: unknown network {network!r}{suggestion(network, output)}")
        return logits_of(output[network] if self.key is None else output[network][self.key])


@LOSSES.register
class DistillationCELoss(_Distillation):
    """Cross entropy of one network's scores with the softmax of another's, summed over the pairs.

    Args:
        model_name_pairs: [learner, teacher] names; no gradient runs into the teacher.
        key, epsilon, name: see above.
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
            raise ConfigError(f"expected model_name_pairs as [[learner, teacher], ...], got {model_name_pairs}")
        self.model_name_pairs = model_name_pairs

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        losses = []
        for learner, teacher in self.model_name_pairs:
            target = F.softmax(self.answer_of(output, teacher).detach(), axis=-1)
            losses.append(super().__call__(self.answer_of(output, learner), target))
        return sum(losses)


@LOSSES.register
class DistillationGTCELoss(_Distillation):
    """Cross entropy of networks' scores with the true labels, summed over the networks.

    Args:
        model_names: the networks.
        key, epsilon, name: see above.
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
            raise ConfigError("expected model_names with one network or more, got none")
        self.model_names = model_names

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        return sum(
            super(DistillationGTCELoss, self).__call__(self.answer_of(output, n), label) for n in self.model_names
        )
