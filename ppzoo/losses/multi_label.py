"""The loss of images that have any number of labels."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.errors import DataError
from ppzoo.losses.base import LOSSES, Loss, check_epsilon, logits_of, or_one


@LOSSES.register
class MultiLabelLoss(Loss):
    """Binary cross entropy of every class with labels in [0, 1]; a label below 0 is unknown and does not count.

    Labels are N x C, or as PaddleClas's data sets answer them N x 1 x C, and N x 2 x C with `weight_ratio`: the
    second row is then the share of positives of each class, and rare positives count more: Li et al., DeepMAR,
    ACPR 2015.

    The mean is over the known labels. With `weight_ratio` it is PaddleClas's, over all labels, where an unknown one has
    the weight 0.

    Args:
        epsilon: label smoothing over the C classes, in [0, 1).
        size_sum: sum over the classes, and the mean over the samples with a known label.
        weight_ratio: weigh by the shares of positives.
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
            raise DataError(f"MultiLabelLoss: expected labels of {samples} x {rows} x {class_num}, got {label.shape}")
        target = label[:, 0].astype(logits.dtype)
        known = (target >= 0).astype(logits.dtype)
        smooth = F.label_smooth(target, epsilon=self.epsilon) if self.epsilon else target
        cost = known * F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        if self.weight_ratio:
            cost = cost * self._rarity(target, label[:, 1].astype(logits.dtype))
            return cost.sum(axis=1).mean() if self.size_sum else cost.mean()
        counts = known.max(axis=1) if self.size_sum else known
        return cost.sum() / or_one(counts.sum())

    def weight(self, label: paddle.Tensor) -> float:
        if self.weight_ratio:
            return len(label)
        known = (label[:, 0] if label.ndim == 3 else label) >= 0
        return int((known.any(axis=1) if self.size_sum else known).sum())

    @staticmethod
    def _rarity(target: paddle.Tensor, ratio: paddle.Tensor) -> paddle.Tensor:
        positive = (target > 0.5).astype(ratio.dtype)
        return paddle.exp(positive * (1 - ratio) + (1 - positive) * ratio)
