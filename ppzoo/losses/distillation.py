"""Distillation losses; the output is a dictionary of network name -> output of the network.

A network with `return_patterns` returns a dictionary of its logits (key "logits") and of the outputs of inner layers;
the option `key` of each loss selects one of them.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, DataError, suggestion
from ppzoo.losses.base import LOSSES, Loss, is_soft, logits_of
from ppzoo.losses.cross_entropy import CELoss, log_softmax
from ppzoo.losses.divergence import check_temperature, kl_divergence
from ppzoo.losses.multi_label import MultiLabelLoss, ratio_weights

LOGITS_KEYS = (None, "logits", "output")  # "output" is the key of PaddleClas before 2.3
Activation = Literal["softmax", "sigmoid"]


class _Distillation(Loss):
    """Base of the distillation losses.

    Args:
        key: key of the output of a network that returns several; the logits by default.
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
    """

    networks = "several"

    def __init__(self, *, key: str | None = None, name: str | None = None) -> None:
        self.key = key
        self._name = name

    @property
    def name(self) -> str:
        return self._name or super().name

    def network_output(self, output: dict[str, Any], network: str) -> paddle.Tensor:
        """Return the output of one of the networks that `key` selects, in float32."""
        if network not in output:
            raise ConfigError(f"{type(self).__name__}: unknown network {network!r}{suggestion(network, output)}")
        found = output[network]
        if isinstance(found, dict) and self.key in found:
            return logits_of(found[self.key])
        if self.key in LOGITS_KEYS:
            return logits_of(found)
        if not isinstance(found, dict):
            expected = f"null or logits, since {network} has one output"
            raise ConfigError(f"{type(self).__name__}.key: expected {expected}, got {self.key!r}; add return_patterns")
        known = ", ".join(map(str, found))
        raise ConfigError(f"{type(self).__name__}.key: expected an output of {network} ({known}), got {self.key!r}")


class _PairLoss(_Distillation):
    """Base of the losses of two networks, summed over the pairs.

    Args:
        model_name_pairs: [student, teacher] names.
        key, name: see `_Distillation`.
    """

    network_options = ("model_name_pairs",)

    def __init__(self, *, model_name_pairs: list[list[str]], key: str | None = None, name: str | None = None) -> None:
        super().__init__(key=key, name=name)
        if not model_name_pairs or any(len(pair) != 2 for pair in model_name_pairs):
            raise ConfigError(f"model_name_pairs: expected [[student, teacher], ...], got {model_name_pairs}")
        self.model_name_pairs = model_name_pairs

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        losses = []
        for student, teacher in self.model_name_pairs:
            one, other = self.network_output(output, student), self.network_output(output, teacher)
            if one.shape != other.shape:
                problem = (
                    f"expected outputs of {student} and {teacher} of the same shape, got {one.shape}, {other.shape}"
                )
                raise ConfigError(f"{type(self).__name__}: {problem}")
            losses.append(self.pair_loss(one, other, label))
        return sum(losses)

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        """Return the loss of a pair for the outputs of its networks."""
        raise NotImplementedError


class _NetworkLoss(_Distillation):
    """Base of the losses of single networks with the ground truth, summed over the networks.

    Args:
        model_names: names of the networks.
        loss: the loss of one network.
        key, name: see `_Distillation`.
    """

    network_options = ("model_names",)

    def __init__(self, *, model_names: list[str], loss: Loss, key: str | None = None, name: str | None = None) -> None:
        super().__init__(key=key, name=name)
        if not model_names:
            raise ConfigError("model_names: expected at least one network, got none")
        self.model_names = model_names
        self.loss = loss

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        return sum(self.loss(self.network_output(output, network), label) for network in self.model_names)

    def weight(self, label: paddle.Tensor) -> float:
        return self.loss.weight(label)


@LOSSES.register
class DistillationCELoss(_PairLoss):
    """Cross entropy of a student's logits with the softmax of a teacher's, summed over the pairs.

    Args:
        model_name_pairs: [student, teacher] names; the teacher gets no gradient.
        key: key of the logits if a network returns several outputs; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
    """

    def __init__(
        self,
        *,
        model_name_pairs: list[list[str]],
        key: str | None = None,
        epsilon: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_name_pairs=model_name_pairs, key=key, name=name)
        self.cross_entropy = CELoss(epsilon=epsilon)

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        return self.cross_entropy(student, F.softmax(teacher.detach(), axis=-1))


@LOSSES.register
class DistillationGTCELoss(_NetworkLoss):
    """Cross entropy of networks' logits with the ground truth, summed over the networks.

    Args:
        model_names: names of the networks.
        key: key of the logits if a network returns several outputs; "logits" by default.
        epsilon: label smoothing, in [0, 1).
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
    """

    label_kind = "single"

    def __init__(
        self,
        *,
        model_names: list[str],
        key: str | None = None,
        epsilon: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(model_names=model_names, loss=CELoss(epsilon=epsilon), key=key, name=name)


@LOSSES.register
class DistillationMultiLabelLoss(_NetworkLoss):
    """`MultiLabelLoss` of networks' logits with the ground truth, summed over the networks.

    Args:
        model_names: names of the networks.
        epsilon, size_sum, weight_ratio: see `MultiLabelLoss`.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
    """

    label_kind = "multi"

    def __init__(
        self,
        *,
        model_names: list[str],
        epsilon: float | None = None,
        size_sum: bool = False,
        weight_ratio: bool = False,
        key: str | None = None,
        name: str | None = None,
    ) -> None:
        loss = MultiLabelLoss(epsilon=epsilon, size_sum=size_sum, weight_ratio=weight_ratio)
        super().__init__(model_names=model_names, loss=loss, key=key, name=name)


@LOSSES.register
class DistillationDMLLoss(_PairLoss):
    """Mean of the Kullback-Leibler divergences in both directions: Zhang et al., arXiv:1706.00384.

    Both networks of a pair get gradients unless they are frozen.

    Args:
        model_name_pairs: pairs of networks that learn from each other.
        act: activation of the outputs; null if they are probabilities.
        weight_ratio: weight the classes by the fractions of positives, for labels N x 2 x C (see `MultiLabelLoss`).
        sum_across_class_dim: multiply the divergences by C once more, as PaddleClas does for this option.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
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
        tiny = 1e-12  # PaddleClas's
        # q log(q / p) + p log(p / q)
        cost = (q - p) * (paddle.log(q + tiny) - paddle.log(p + tiny)) * (class_num / 2)
        if self.weight_ratio:
            if list(label.shape) != [len(p), 2, class_num]:
                expected = f"labels of {len(p)} x 2 x {class_num} for weight_ratio"
                raise DataError(f"DistillationDMLLoss: expected {expected}, got {label.shape}")
            target, ratio = label[:, 0].astype(cost.dtype), label[:, 1].astype(cost.dtype)
            cost = cost * ratio_weights(target, ratio) * (target > -1).astype(cost.dtype)
        return cost.sum(axis=1).mean() if self.sum_across_class_dim else cost.mean()


@LOSSES.register
class DistillationKLDivLoss(_PairLoss):
    """Kullback-Leibler divergence of softened outputs: Hinton et al., arXiv:1503.02531; see `KLDivLoss`.

    Args:
        model_name_pairs: [student, teacher] names; the teacher gets no gradient.
        temperature: divisor of the logits, above 0.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
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
        check_temperature(temperature)
        self.temperature = temperature

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        log_p, log_q = log_softmax(student / self.temperature), log_softmax(teacher.detach() / self.temperature)
        return kl_divergence(log_p, log_q) * self.temperature**2


@LOSSES.register
class DistillationDKDLoss(_PairLoss):
    """Decoupled knowledge distillation: Zhao et al., arXiv:2203.08679.

    The Kullback-Leibler divergence has two parts with a weight each: that of the target class against all others, and
    that among the others.

    Args:
        model_name_pairs: [student, teacher] names; the teacher gets no gradient.
        temperature: divisor of the logits, above 0.
        alpha: weight of the target class's part, 0 or more.
        beta: weight of the other classes' part, 0 or more.
        use_target_as_gt: the target class is the teacher's prediction instead of the label.
        key: key of the logits if a network returns several outputs; "logits" by default.
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
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
        check_temperature(temperature)
        for option, weight in (("alpha", alpha), ("beta", beta)):
            if not 0 <= weight < math.inf:
                raise ConfigError(f"{option}: expected a number of 0 or more, got {weight}")
        self.temperature = temperature
        self.alpha, self.beta = alpha, beta
        self.use_target_as_gt = use_target_as_gt

    def pair_loss(self, student: paddle.Tensor, teacher: paddle.Tensor, label: paddle.Tensor) -> paddle.Tensor:
        teacher, class_num = teacher.detach(), student.shape[-1]
        if self.use_target_as_gt:
            label = teacher.argmax(axis=-1)
        elif is_soft(label, class_num):
            label = label.argmax(axis=-1)
        mask = F.one_hot(label.flatten(), class_num)
        (p_binary, p_others), (q_binary, q_others) = (self._split(logits, mask) for logits in (student, teacher))
        parts = self.alpha * kl_divergence(p_binary, q_binary) + self.beta * kl_divergence(p_others, q_others)
        return parts * self.temperature**2

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
class DistillationDistanceLoss(_PairLoss):
    """Distance of the outputs of two networks, such as those of inner layers (`return_patterns`).

    Both networks of a pair get gradients unless they are frozen.

    Args:
        model_name_pairs: pairs of networks.
        mode: absolute difference, squared difference, or smooth absolute difference.
        act: activation of the outputs before the comparison.
        reduction: mean or sum over all elements.
        delta: difference where smooth_l1 becomes linear, above 0.
        key: the layer in `return_patterns` of both networks whose output is compared; the logits by default.
        name: key of this loss in the output of `CombinedLoss`; the class name by default.
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
        if not 0 < delta < math.inf:
            raise ConfigError(f"delta: expected a number above 0, got {delta}")
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
