"""Cross entropy and its variants."""

from __future__ import annotations

import math
from typing import Any, Literal

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError
from ppzoo.losses.base import (
    LOSSES,
    ClassWeights,
    Loss,
    check_epsilon,
    class_weights_of,
    distributions,
    is_soft,
    logits_of,
    require_same_samples,
    weight_of_labels,
    weighted_mean,
)


@LOSSES.register
class CELoss(Loss):
    """Cross entropy of logits with labels that are class indices (N or N x 1) or soft labels (N x C).

    Args:
        epsilon: label smoothing, in [0, 1).
        class_weights: weight of each class, for unbalanced data. The loss is the sum of the weighted losses of the
            images, divided by the sum of their weights: in training over a step, in evaluation over all batches.
            "balanced" (in configurations only) gives class c the weight n / (k n_c), for n training images, k classes
            that have images, and n_c images of class c.
        reduction: accepted for PaddleClas's configurations: the loss of a batch is always the mean.

    Raises:
        ConfigError: an option out of its range.
    """

    label_kind: str | None = "single"

    def __init__(
        self,
        *,
        epsilon: float | None = None,
        class_weights: ClassWeights = None,
        reduction: Literal["mean"] = "mean",
    ) -> None:
        check_epsilon(epsilon)
        self.epsilon = epsilon
        self.class_weights = class_weights_of(class_weights)

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        logits = logits_of(output)
        class_num = logits.shape[-1]
        if self.class_weights is not None:
            soft = distributions(label, class_num, self.epsilon)
            require_same_samples(soft, logits)
            return weighted_mean(-soft * log_softmax(logits), soft, self.class_weights)
        if self.epsilon or is_soft(label, class_num):
            return F.cross_entropy(logits, distributions(label, class_num, self.epsilon), soft_label=True)
        return F.cross_entropy(logits, label.flatten())

    def weight(self, label: paddle.Tensor) -> float:
        return weight_of_labels(label, self.class_weights, self.epsilon)


def log_softmax(logits: paddle.Tensor) -> paddle.Tensor:
    """Return log-probabilities over the last axis; on CPUs several times as fast as `F.log_softmax`."""
    return logits - paddle.logsumexp(logits, axis=-1, keepdim=True)


@LOSSES.register
class SoftTargetCELoss(CELoss):
    """Cross entropy with soft labels (N x C); `SoftTargetCrossEntropy` is PaddleClas's name of `SoftTargetCELoss`."""

    def __init__(self) -> None:
        super().__init__()


LOSSES.add("SoftTargetCrossEntropy", SoftTargetCELoss)


@LOSSES.register
class GoogLeNetLoss(CELoss):
    """Cross entropy of GoogLeNet's three outputs, the auxiliary ones weighted 0.3: Szegedy et al., arXiv:1409.4842."""

    outputs = 3

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        if not isinstance(output, (list, tuple)) or len(output) != 3:
            raise ConfigError("GoogLeNetLoss: expected a network with three outputs, got one; use CELoss")
        main, *auxiliary = (super(GoogLeNetLoss, self).__call__(logits, label) for logits in output)
        return main + 0.3 * sum(auxiliary)


class _ModulatedCrossEntropy(Loss):
    """Base of losses that replace -log p in the cross entropy by `cost(log p)`.

    The loss of a sample is the sum of q * cost(log p) over the classes; q is 1 for its class, or its soft label.

    Args:
        epsilon, class_weights: see `CELoss`.
    """

    label_kind = "single"

    def __init__(self, *, epsilon: float | None = None, class_weights: ClassWeights = None) -> None:
        check_epsilon(epsilon)
        self.epsilon = epsilon
        self.class_weights = class_weights_of(class_weights)

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        logits = logits_of(output)
        soft = distributions(label, logits.shape[-1], self.epsilon)
        require_same_samples(soft, logits)
        return weighted_mean(soft * self.cost(log_softmax(logits)), soft, self.class_weights)

    def weight(self, label: paddle.Tensor) -> float:
        return weight_of_labels(label, self.class_weights, self.epsilon)

    def cost(self, log_p: paddle.Tensor) -> paddle.Tensor:
        """Return the loss of each class, N x C, for its log-probability."""
        raise NotImplementedError


@LOSSES.register
class FocalLoss(_ModulatedCrossEntropy):
    """Focal loss -(1 - p)^gamma log p, with p the softmax of the label's class: Lin et al., arXiv:1708.02002.

    Args:
        gamma: focusing parameter, 0 or more; a larger one gives easy samples less weight. 0: cross entropy.
        epsilon, class_weights: see `CELoss`.
    """

    def __init__(self, *, gamma: float = 2.0, epsilon: float | None = None, class_weights: ClassWeights = None) -> None:
        super().__init__(epsilon=epsilon, class_weights=class_weights)
        if not 0 <= gamma < math.inf:
            raise ConfigError(f"gamma: expected 0 or more, got {gamma}")
        self.gamma = gamma

    def cost(self, log_p: paddle.Tensor) -> paddle.Tensor:
        # Below gamma = 1 the derivative of 0 ** gamma, at p = 1, is infinite.
        return -((1 - log_p.exp()).clip(min=1e-7) ** self.gamma) * log_p


@LOSSES.register
class PolyLoss(_ModulatedCrossEntropy):
    """Poly-1: -log p + epsilon1 * (1 - p), with p the softmax of the label's class: arXiv:2204.12511, equation 6.

    Args:
        epsilon1: factor of (1 - p), above -1; 0: cross entropy.
        epsilon, class_weights: see `CELoss`.
    """

    def __init__(
        self, *, epsilon1: float = 1.0, epsilon: float | None = None, class_weights: ClassWeights = None
    ) -> None:
        super().__init__(epsilon=epsilon, class_weights=class_weights)
        if not -1 < epsilon1 < math.inf:
            raise ConfigError(f"epsilon1: expected a number above -1, got {epsilon1}")
        self.epsilon1 = epsilon1

    def cost(self, log_p: paddle.Tensor) -> paddle.Tensor:
        return -log_p + self.epsilon1 * (1 - log_p.exp())
