"""Cross entropy and what grew out of it."""

from __future__ import annotations

import math
from typing import Any, Literal

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError
from ppzoo.losses.base import (
    LOSSES,
    Loss,
    check_epsilon,
    class_weights_of,
    distributions,
    is_soft,
    logits_of,
    weight_of_labels,
    weighted_mean,
)


@LOSSES.register
class CELoss(Loss):
    """Cross entropy of class scores with indices (N or N x 1) or with soft labels (N x C, used as they are).

    Args:
        epsilon: label smoothing, in [0, 1).
        class_weights: weight of every class, for unbalanced data; the mean is divided by the weights in the batch,
            and in evaluation by those in all batches.
        reduction: accepted for PaddleClas's files: the loss of a batch is the mean.

    Raises:
        ConfigError: an option out of its range.
    """

    label_kind: str | None = "single"

    def __init__(
        self,
        *,
        epsilon: float | None = None,
        class_weights: list[float] | None = None,
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
            return weighted_mean(-soft * log_softmax(logits), soft, self.class_weights)
        if self.epsilon or is_soft(label, class_num):
            return F.cross_entropy(logits, distributions(label, class_num, self.epsilon), soft_label=True)
        return F.cross_entropy(logits, label.flatten())

    def weight(self, label: paddle.Tensor) -> float:
        return weight_of_labels(label, self.class_weights, self.epsilon)


def log_softmax(logits: paddle.Tensor) -> paddle.Tensor:
    """Log-probabilities over the last axis; several times as fast on CPUs as PaddlePaddle's function of this name."""
    return logits - paddle.logsumexp(logits, axis=-1, keepdim=True)


@LOSSES.register
class SoftTargetCELoss(CELoss):
    """Cross entropy with soft labels; PaddleClas's `SoftTargetCrossEntropy`."""

    def __init__(self) -> None:
        super().__init__()


LOSSES.add("SoftTargetCrossEntropy", SoftTargetCELoss)


@LOSSES.register
class GoogLeNetLoss(CELoss):
    """Cross entropy of GoogLeNet's three outputs, the two side ones by 0.3: Szegedy et al., arXiv:1409.4842."""

    outputs = 3

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        if not isinstance(output, (list, tuple)) or len(output) != 3:
            raise ConfigError("GoogLeNetLoss: expected a network with three outputs, got one; use CELoss")
        main, *sides = (super(GoogLeNetLoss, self).__call__(scores, label) for scores in output)
        return main + 0.3 * sum(sides)


class _BentCrossEntropy(Loss):
    """A loss that bends the curve of the cross entropy: the mean of q * cost(log p), summed over the classes.

    Args:
        epsilon, class_weights: those of `CELoss`.
    """

    label_kind = "single"

    def __init__(self, *, epsilon: float | None = None, class_weights: list[float] | None = None) -> None:
        check_epsilon(epsilon)
        self.epsilon = epsilon
        self.class_weights = class_weights_of(class_weights)

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        logits = logits_of(output)
        soft = distributions(label, logits.shape[-1], self.epsilon)
        return weighted_mean(soft * self.cost(log_softmax(logits)), soft, self.class_weights)

    def weight(self, label: paddle.Tensor) -> float:
        return weight_of_labels(label, self.class_weights, self.epsilon)

    def cost(self, log_p: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError


@LOSSES.register
class FocalLoss(_BentCrossEntropy):
    """-(1 - p)^gamma log p of the label's classes: Lin et al., arXiv:1708.02002, with softmax.

    Args:
        gamma: how much less an easy sample counts; 0 is the cross entropy.
        epsilon, class_weights: those of `CELoss`.
    """

    def __init__(
        self, *, gamma: float = 2.0, epsilon: float | None = None, class_weights: list[float] | None = None
    ) -> None:
        super().__init__(epsilon=epsilon, class_weights=class_weights)
        if not 0 <= gamma < math.inf:
            raise ConfigError(f"expected gamma of 0 or more, got {gamma}")
        self.gamma = gamma

    def cost(self, log_p: paddle.Tensor) -> paddle.Tensor:
        # Below gamma = 1 the derivative of 0 ** gamma, at p = 1, is infinite.
        return -((1 - log_p.exp()).clip(min=1e-7) ** self.gamma) * log_p


@LOSSES.register
class PolyLoss(_BentCrossEntropy):
    """Poly-1: -log p + epsilon1 * (1 - p) of the label's classes: Leng et al., arXiv:2204.12511, equation 6.

    Args:
        epsilon1: how much the first term of the polynomial counts beyond cross entropy, above -1.
        epsilon, class_weights: those of `CELoss`.
    """

    def __init__(
        self, *, epsilon1: float = 1.0, epsilon: float | None = None, class_weights: list[float] | None = None
    ) -> None:
        super().__init__(epsilon=epsilon, class_weights=class_weights)
        if not -1 < epsilon1 < math.inf:
            raise ConfigError(f"expected epsilon1 above -1, got {epsilon1}")
        self.epsilon1 = epsilon1

    def cost(self, log_p: paddle.Tensor) -> paddle.Tensor:
        return -log_p + self.epsilon1 * (1 - log_p.exp())
