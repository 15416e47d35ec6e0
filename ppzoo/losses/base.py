"""What all losses share: what a network answers, what a label may be, and the mean over a batch."""

from __future__ import annotations

import math
from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, DataError
from ppzoo.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss")


class Loss:
    """A loss: called with what the network answers and the labels of a batch, it answers a scalar tensor."""

    label_kind: str | None = None

    @property
    def name(self) -> str:
        """The key of its share in what `CombinedLoss` answers."""
        return type(self).__name__

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError

    def weight(self, label: paddle.Tensor) -> float:
        """The weight of a batch in the mean over several batches: what its own mean was divided by."""
        return len(label)


def logits_of(output: Any) -> paddle.Tensor:
    """The class scores, N x C, of a tensor or of a mapping with "logits"; half precision becomes float32."""
    logits = output["logits"] if isinstance(output, dict) else output
    if isinstance(logits, (list, tuple)):
        raise ConfigError("expected a network with one output, got several; GoogLeNetLoss takes three")
    return logits.astype("float32") if logits.dtype in (paddle.float16, paddle.bfloat16) else logits


def is_soft(label: paddle.Tensor, class_num: int) -> bool:
    """Whether labels are distributions over classes (N x C), not indices (N or N x 1).

    Raises:
        DataError: labels that are neither.
    """
    shape = list(label.shape)
    if len(shape) == 2 and shape[1] == class_num and (class_num > 1 or label.is_floating_point()):
        return True
    if len(shape) == 1 or shape[1:] == [1]:
        return False
    raise DataError(f"expected labels of N, N x 1 or N x {class_num} (the network's classes), got {shape}")


def distributions(label: paddle.Tensor, class_num: int, epsilon: float | None) -> paddle.Tensor:
    """Labels as distributions, N x C float; with `epsilon` (1 - epsilon) * q + epsilon / C of them.

    Soft labels are used as they are. Smoothing: Szegedy et al., arXiv:1512.00567, section 7.

    Raises:
        DataError: labels that are neither indices nor distributions; one below 0 has no lower bound of its loss.
    """
    if is_soft(label, class_num):
        soft = label if label.is_floating_point() else label.astype("float32")
        if soft.shape[0] and float(soft.min()) < 0:
            raise DataError(
                f"expected soft labels of 0 or more, got {float(soft.min()):g}; MultiLabelLoss takes unknown (-1)"
            )
    else:
        soft = F.one_hot(label.flatten(), class_num)
    return F.label_smooth(soft, epsilon=epsilon) if epsilon else soft


def class_weights_of(weights: list[float] | None) -> paddle.Tensor | None:
    """The weights of the classes as a tensor of C.

    Raises:
        ConfigError: a weight below 0, or none above.
    """
    if weights is None:
        return None
    if not any(weights) or not all(0 <= weight < math.inf for weight in weights):
        raise ConfigError(f"expected class_weights of 0 or more, some above 0, got {weights}")
    return paddle.to_tensor(weights, dtype="float32")


def weighted_mean(shares: paddle.Tensor, soft: paddle.Tensor, weights: paddle.Tensor | None) -> paddle.Tensor:
    """Mean over a batch of the classes' shares in the loss (N x C), each class by its weight.

    The divisor is the weight that the labels (N x C) give the batch, so that equal weights change nothing. Where they
    give it none, the mean is 0, and so are its gradients.
    """
    if weights is None:
        return shares.sum(axis=-1).mean()
    if shares.shape[-1] != weights.shape[0]:
        raise ConfigError(f"expected {shares.shape[-1]} class_weights, one a class, got {weights.shape[0]}")
    total = (soft * weights).sum()
    return (shares * weights).sum() / or_one(total)


def or_one(total: paddle.Tensor) -> paddle.Tensor:
    """What a sum is divided by: its total weight, and 1 where that is 0, so that the mean of nothing is 0."""
    return paddle.where(total > 0, total, paddle.ones_like(total))


def weight_of_labels(label: paddle.Tensor, weights: paddle.Tensor | None, epsilon: float | None) -> float:
    """What `weighted_mean` divides by: the weight that the labels give a batch, or its number of samples."""
    if weights is None:
        return len(label)
    soft = distributions(label, weights.shape[0], epsilon)
    return float((soft.astype("float64") * weights.astype("float64")).sum())


def check_epsilon(epsilon: float | None) -> None:
    """Refuse a label smoothing that is not in [0, 1)."""
    if epsilon is not None and not 0 <= epsilon < 1:
        raise ConfigError(f"expected epsilon in [0, 1), got {epsilon}")
