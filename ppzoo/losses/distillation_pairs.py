"""Losses that compare the outputs of two networks: divergences, and distances of the outputs of inner layers."""

from __future__ import annotations

from typing import Literal

import paddle
import paddle.nn.functional as F

from ppzoo.errors import DataError
from ppzoo.losses.base import LOSSES, require_not_negative, require_positive
from ppzoo.losses.cross_entropy import log_softmax
from ppzoo.losses.distillation import PairLoss, one_hot_labels
from ppzoo.losses.divergence import kl_divergence, softened_divergence
from ppzoo.losses.multi_label import ratio_weights

Activation = Literal["softmax", "sigmoid"]


@LOSSES.register
class DistillationDMLLoss(PairLoss):
    """Mutual learning: mean of the Kullback-Leibler divergences in both directions: Zhang et al., arXiv:1706.00384.

    Both networks of a pair get gradients unless they are frozen.

    Args:
        model_name_pairs: pairs of names in `Arch.models`; both networks of a pair learn from each other.
        act: activation of the outputs; null if they are probabilities.
        weight_ratio: weight the classes by the fractions of positives, for labels N x 2 x C (see `MultiLabelLoss`).
        sum_across_class_dim: multiply the loss by C, the number of classes, as PaddleClas does for this option.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    trains_pairs = True

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        act: Activation | None = "softmax",
        weight_ratio: bool = False,
        sum_across_class_dim: bool = False,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        self.act = act
        self.weight_ratio = weight_ratio
        self.sum_across_class_dim = sum_across_class_dim

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        p, q = activate(student, self.act), activate(teacher, self.act)
        class_num = p.shape[-1]
        tiny = 1e-12  # as in PaddleClas
        # q log(q / p) + p log(p / q)
        cost = (q - p) * (paddle.log(q + tiny) - paddle.log(p + tiny)) * (class_num / 2)
        if self.weight_ratio:
            if list(label.shape) != [len(p), 2, class_num]:
                expected = f"labels of shape {len(p)} x 2 x {class_num} for weight_ratio"
                raise DataError(f"DistillationDMLLoss: expected {expected}, got {list(label.shape)}")
            target, ratio = label[:, 0].astype(cost.dtype), label[:, 1].astype(cost.dtype)
            cost = cost * ratio_weights(target, ratio) * (target > -1).astype(cost.dtype)
        return cost.sum(axis=1).mean() if self.sum_across_class_dim else cost.mean()


@LOSSES.register
class DistillationKLDivLoss(PairLoss):
    """Kullback-Leibler divergence of softened outputs: Hinton et al., arXiv:1503.02531; see `KLDivLoss`.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        temperature: divisor of the logits, above 0.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        temperature: float = 4,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        require_positive(temperature=temperature)
        self.temperature = temperature

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        return softened_divergence(student, teacher.detach(), self.temperature).mean() * self.temperature**2


@LOSSES.register
class DistillationDKDLoss(PairLoss):
    """Decoupled knowledge distillation: Zhao et al., arXiv:2203.08679.

    The Kullback-Leibler divergence has two parts with a weight each: that of the target class against all others, and
    that among the others.

    Args:
        model_name_pairs: pairs [student, teacher] of names in `Arch.models`; the teacher gets no gradient.
        temperature: divisor of the logits, above 0.
        alpha: weight of the part that compares the target class with all others, 0 or more.
        beta: weight of the part that compares the other classes with each other, 0 or more.
        use_target_as_gt: the target class is the teacher's prediction instead of the label.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: name of this loss in the logs; the class name by default.
    """

    label_kind = "single"

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        temperature: float = 1.0,
        alpha: float = 1.0,
        beta: float = 1.0,
        use_target_as_gt: bool = False,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        require_positive(temperature=temperature)
        require_not_negative(alpha=alpha, beta=beta)
        self.temperature = temperature
        self.alpha, self.beta = alpha, beta
        self.use_target_as_gt = use_target_as_gt

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        teacher = teacher.detach()
        mask = one_hot_labels(label, teacher, self.use_target_as_gt)
        (p_binary, p_others), (q_binary, q_others) = (self._split(logits, mask) for logits in (student, teacher))
        target_part = self.alpha * kl_divergence(p_binary, q_binary).mean()
        others_part = self.beta * kl_divergence(p_others, q_others).mean()
        return (target_part + others_part) * self.temperature**2

    def _split(self, logits: paddle.Tensor, mask: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return log-probabilities: of the target class and its opposite (N x 2), and among the others (N x C)."""
        scaled = logits / self.temperature
        without_target = scaled - 1000.0 * mask
        binary = paddle.concat(
            [(scaled * mask).sum(axis=-1, keepdim=True), paddle.logsumexp(without_target, axis=-1, keepdim=True)],
            axis=-1,
        )
        return log_softmax(binary), log_softmax(without_target)


@LOSSES.register
class DistillationDistanceLoss(PairLoss):
    """Distance between the outputs of two networks, such as the outputs of inner layers (`return_patterns`).

    Both networks of a pair get gradients unless they are frozen.

    Args:
        model_name_pairs: pairs of names in `Arch.models`; both networks get gradients unless they are frozen.
        mode: "l1": absolute difference; "l2": squared difference; "smooth_l1": half the squared difference up to
            `delta`, linear above it.
        act: activation of the outputs before the comparison; null: none.
        reduction: mean or sum over all elements.
        delta: difference from which "smooth_l1" is linear, above 0.
        key: the layer in `return_patterns` of both networks whose output is compared; the logits by default.
        name: name of this loss in the logs; the class name by default.
    """

    trains_pairs = True

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        mode: Literal["l1", "l2", "smooth_l1"] = "l2",
        act: Activation | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        delta: float = 1.0,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        require_positive(delta=delta)
        self.mode, self.act, self.reduction, self.delta = mode, act, reduction, delta

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        one, other = activate(student, self.act), activate(teacher, self.act)
        if self.mode == "smooth_l1":
            # PaddlePaddle's `smooth_l1_loss` has no gradient of its second argument.
            difference = (one - other).abs()
            linear = self.delta * (difference - 0.5 * self.delta)
            cost = paddle.where(difference < self.delta, 0.5 * difference**2, linear)
        else:
            cost = (one - other).abs() if self.mode == "l1" else (one - other) ** 2
        return cost.sum() if self.reduction == "sum" else cost.mean()

    def weight(self, label: paddle.Tensor) -> float:
        return len(label) if self.reduction == "mean" else 1


def activate(logits: paddle.Tensor, act: Activation | None) -> paddle.Tensor:
    """Return the activation of logits; the softmax is over the last axis."""
    if act is None:
        return logits
    return F.softmax(logits, axis=-1) if act == "softmax" else F.sigmoid(logits)
