"""Guided distillation: the student learns from the teacher where the teacher predicts the label."""

from __future__ import annotations

import paddle

from ppzoo.losses.base import LOSSES, nonzero_divisor
from ppzoo.losses.distillation import PairLoss, one_hot_labels
from ppzoo.losses.distillation_pairs import Activation, DistillationKLDivLoss, activate
from ppzoo.losses.divergence import softened_divergence


@LOSSES.register
class DistillationGuidedDMLLoss(PairLoss):
    """`DistillationDMLLoss`, averaged over the images that the teacher classifies correctly; 0 if there are none.

    Args:
        model_name_pairs: pairs of names in `Arch.models`. Both networks learn from each other; the second one is the
            teacher.
        act: activation of the outputs; null if they are probabilities.
        eps: small number that is added to probabilities before the logarithm.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    label_kind = "single"
    trains_pairs = True

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        act: Activation | None = "softmax",
        eps: float = 1e-12,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        self.act, self.eps = act, eps

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        p, q = activate(student, self.act), activate(teacher, self.act)
        cost = (q - p) * (paddle.log(q + self.eps) - paddle.log(p + self.eps)) / 2
        return mean_of_guided(cost.sum(axis=1), teacher, label)


@LOSSES.register
class DistillationGuidedKLDivLoss(DistillationKLDivLoss):
    """`DistillationKLDivLoss`, averaged over the images that the teacher classifies correctly; 0 if there are none.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        temperature: divisor of the logits, above 0.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    label_kind = "single"

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        teacher = teacher.detach()
        divergence = softened_divergence(student, teacher, self.temperature)
        return mean_of_guided(divergence, teacher, label) * self.temperature**2


def mean_of_guided(costs: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
    """Return the mean of the costs (N) of those images whose label has the teacher's highest logit."""
    target = one_hot_labels(label, teacher, use_target_as_gt=False)
    predicted = one_hot_labels(label, teacher, use_target_as_gt=True)
    guided = (target * predicted).sum(axis=1).detach()
    return (costs * guided).sum() / nonzero_divisor(guided.sum())
