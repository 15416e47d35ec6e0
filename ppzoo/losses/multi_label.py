"""Losses for images with any number of labels each."""

from __future__ import annotations

from typing import Any, Literal

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, DataError
from ppzoo.losses.base import LOSSES, Loss, check_epsilon, logits_of, nonzero_divisor, require_not_negative


@LOSSES.register
class MultiLabelLoss(Loss):
    """Binary cross entropy of each class with labels in [0, 1]; labels below 0 are unknown and ignored.

    Labels are N x C or, as PaddleClas's datasets return them, N x 1 x C. With `weight_ratio` they are N x 2 x C: the
    second row is the fraction of positives of each class, and rare positives count more (Li et al., DeepMAR, ACPR
    2015).

    The mean is over the known labels. With `weight_ratio` it is over all labels, as in PaddleClas; unknown labels then
    have weight 0.

    Args:
        epsilon: label smoothing, in [0, 1): a label becomes (1 - epsilon) * label + epsilon / C, for C classes.
        size_sum: sum over the classes, and average over the samples that have a known label, instead of averaging over
            all known labels.
        weight_ratio: of the positives and negatives of a class, give those that are rarer more weight. The dataset has
            to return the fractions of positives (`label_ratio` of `MultiLabelDataset`).
    """

    label_kind = "multi"

    def __init__(self, *, epsilon: float | None = None, size_sum: bool = False, weight_ratio: bool = False) -> None:
        check_epsilon(epsilon)
        self.epsilon = epsilon
        self.size_sum = size_sum
        self.weight_ratio = weight_ratio

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        logits = logits_of(output)
        samples, class_num = logits.shape
        rows = 2 if self.weight_ratio else 1
        if label.ndim == 2 and not self.weight_ratio:
            label = label.unsqueeze(1)
        if list(label.shape) != [samples, rows, class_num]:
            raise DataError(
                f"MultiLabelLoss: expected labels of shape {samples} x {rows} x {class_num}, got {list(label.shape)}"
            )
        target = label[:, 0].astype(logits.dtype)
        known = (target >= 0).astype(logits.dtype)
        smooth = F.label_smooth(target, epsilon=self.epsilon) if self.epsilon else target
        cost = known * F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        if self.weight_ratio:
            cost = cost * ratio_weights(target, label[:, 1].astype(logits.dtype))
            return cost.sum(axis=1).mean() if self.size_sum else cost.mean()
        counts = known.max(axis=1) if self.size_sum else known
        return cost.sum() / nonzero_divisor(counts.sum())

    def weight(self, label: paddle.Tensor) -> float:
        if self.weight_ratio:
            return len(label)
        known = (label[:, 0] if label.ndim == 3 else label) >= 0
        return int((known.any(axis=1) if self.size_sum else known).sum())


def ratio_weights(target: paddle.Tensor, ratio: paddle.Tensor) -> paddle.Tensor:
    """Return the weight of each label, N x C, from the fractions of positives; rarer labels have larger weights."""
    positive = (target > 0.5).astype(ratio.dtype)
    return paddle.exp(positive * (1 - ratio) + (1 - positive) * ratio)


@LOSSES.register
class MultiLabelAsymmetricLoss(Loss):
    """Binary cross entropy in which easy negatives count less than positives: Ridnik et al., arXiv:2009.14119.

    Labels are N x C or N x rows x C, of which the first row is used; labels below 0 are unknown and ignored.

    Args:
        gamma_pos: focusing parameter of positives, 0 or more; a larger one gives easy positives less weight.
        gamma_neg: focusing parameter of negatives, 0 or more; a larger one gives easy negatives less weight.
        clip: value in [0, 1) that is subtracted from the probability of each negative; negatives with a smaller
            probability do not count. null: no subtraction.
        epsilon: lower limit of probabilities in the logarithm, in (0, 1).
        disable_focal_loss_grad: treat the focusing factor as a constant when gradients are computed.
        reduction: "sum": sum over all samples and classes; "mean": mean over the known labels.

    Raises:
        ConfigError: an option out of its range.
    """

    label_kind = "multi"

    def __init__(
        self,
        *,
        gamma_pos: float = 1,
        gamma_neg: float = 4,
        clip: float | None = 0.05,
        epsilon: float = 1e-8,
        disable_focal_loss_grad: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        require_not_negative(gamma_pos=gamma_pos, gamma_neg=gamma_neg)
        if clip is not None and not 0 <= clip < 1:
            raise ConfigError(f"clip: expected null or a number in [0, 1), got {clip}")
        if not 0 < epsilon < 1:
            raise ConfigError(f"epsilon: expected a number in (0, 1), got {epsilon}")
        self.gamma_pos, self.gamma_neg = gamma_pos, gamma_neg
        self.clip, self.epsilon = clip or 0.0, epsilon
        self.disable_focal_loss_grad = disable_focal_loss_grad
        self.reduction = reduction

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        logits = logits_of(output)
        label = label[:, 0] if label.ndim == 3 else label
        if label.shape != logits.shape:
            expected = " x ".join(map(str, logits.shape))
            raise DataError(f"MultiLabelAsymmetricLoss: expected labels of shape {expected}, got {list(label.shape)}")
        target = label.astype(logits.dtype)
        known = (target >= 0).astype(logits.dtype)
        probability = F.sigmoid(logits)
        negative = (1 - probability + self.clip).clip(max=1) if self.clip else 1 - probability
        right = negative * (1 - target) + probability * target
        factor = self._focus(right.detach() if self.disable_focal_loss_grad else right, target)
        cost = -known * paddle.log(right.clip(min=self.epsilon)) * factor
        return cost.sum() if self.reduction == "sum" else cost.sum() / nonzero_divisor(known.sum())

    def _focus(self, right: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        # Below gamma = 1 the derivative of 0 ** gamma is infinite.
        return (1 - right).clip(min=1e-7) ** (self.gamma_pos * target + self.gamma_neg * (1 - target))

    def weight(self, label: paddle.Tensor) -> float:
        if self.reduction == "sum":
            return 1
        return int(((label[:, 0] if label.ndim == 3 else label) >= 0).sum())
