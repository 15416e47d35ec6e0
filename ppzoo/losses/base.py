"""The base class of losses, and helpers for network outputs, labels and weighted means."""

from __future__ import annotations

import math
from typing import Any, Literal

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, DataError
from ppzoo.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss")

BALANCED = "balanced"
ClassWeights = list[float] | Literal["balanced"] | None
"""Weights of the classes; "balanced" becomes numbers before a loss is built, since it needs the training labels."""


class Loss:
    """A loss: returns a scalar tensor for the network's output and the labels of a batch.

    Attributes:
        layers: the layers that the loss itself has, whose weights are trained with the network; None for most losses.
        label_kind: "single" or "multi", the labels per image for which the loss is made; None if both work.
        networks: "several" if the output is a dictionary of network name -> output.
    """

    layers: paddle.nn.Layer | None = None
    label_kind: str | None = None
    networks = "one"

    @property
    def name(self) -> str:
        """Key of this loss in the output of `CombinedLoss`."""
        return type(self).__name__

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError

    def weight(self, label: paddle.Tensor) -> float:
        """Return the weight of a batch in the mean over several batches: the divisor of the batch's own mean."""
        return len(label)


def logits_of(output: Any) -> paddle.Tensor:
    """Return the logits, N x C, from a tensor or a dictionary with "logits"; half precision is cast to float32.

    The output of an inner layer, a tensor of another shape, is returned in the same way.

    Raises:
        ConfigError: the network has several outputs.
    """
    logits = output["logits"] if isinstance(output, dict) else output
    if isinstance(logits, (list, tuple)):
        raise ConfigError("expected a network with one output, got several; use GoogLeNetLoss for GoogLeNet")
    return logits.astype("float32") if logits.dtype in (paddle.float16, paddle.bfloat16) else logits


def is_soft(label: paddle.Tensor, class_num: int) -> bool:
    """Return whether labels are distributions over classes (N x C), not indices (N or N x 1).

    Raises:
        DataError: labels of another shape.
    """
    shape = list(label.shape)
    if len(shape) == 2 and shape[1] == class_num and (class_num > 1 or label.is_floating_point()):
        return True
    if len(shape) == 1 or shape[1:] == [1]:
        return False
    raise DataError(f"expected labels of shape N, N x 1 or N x {class_num} (the network's classes), got {shape}")


def distributions(label: paddle.Tensor, class_num: int, epsilon: float | None) -> paddle.Tensor:
    """Return labels as distributions, N x C float; with `epsilon` smoothed: (1 - epsilon) * q + epsilon / C.

    Label smoothing: Szegedy et al., arXiv:1512.00567, section 7.

    Raises:
        DataError: labels that are neither indices nor distributions, or soft labels below 0 (their loss would have no
            lower bound).
    """
    if is_soft(label, class_num):
        soft = label if label.is_floating_point() else label.astype("float32")
        if soft.shape[0] and float(soft.min()) < 0:
            raise DataError(
                f"expected soft labels of 0 or more, got {float(soft.min()):g}; use MultiLabelLoss for unknown labels"
            )
    else:
        soft = F.one_hot(label.flatten(), class_num)
    return F.label_smooth(soft, epsilon=epsilon) if epsilon else soft


def require_same_samples(labels: paddle.Tensor, logits: paddle.Tensor) -> None:
    """Raise DataError unless there is one label per sample; a single label would be broadcast to all samples."""
    if labels.shape[0] != logits.shape[0]:
        raise DataError(f"expected labels of {logits.shape[0]} samples, one per output, got {labels.shape[0]}")


def class_weights_of(weights: ClassWeights) -> paddle.Tensor | None:
    """Return the class weights as a tensor of C values; None without weights.

    Raises:
        ConfigError: a negative or infinite weight, no weight above 0, or "balanced".
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        expected = "a list of numbers, since no training labels are known"
        raise ConfigError(f"class_weights: expected {expected}, got {weights!r}")
    if not any(weights) or not all(0 <= weight < math.inf for weight in weights):
        raise ConfigError(f"class_weights: expected weights of 0 or more, at least one above 0, got {weights}")
    return paddle.to_tensor(weights, dtype="float32")


def weighted_mean(losses: paddle.Tensor, soft: paddle.Tensor, weights: paddle.Tensor | None) -> paddle.Tensor:
    """Return the mean over a batch of the losses per class (N x C), weighted by class.

    The divisor is the total weight of the labels `soft` (N x C), so that equal weights change nothing. If it is 0, the
    mean and its gradients are 0. Without weights, it is the batch size.

    Raises:
        ConfigError: the number of weights is not that of the classes.
    """
    if weights is None:
        return losses.sum(axis=-1).mean()
    if losses.shape[-1] != weights.shape[0]:
        raise ConfigError(f"class_weights: expected {losses.shape[-1]} weights, one per class, got {weights.shape[0]}")
    total = (soft * weights).sum()
    return (losses * weights).sum() / nonzero_divisor(total)


def nonzero_divisor(total: paddle.Tensor) -> paddle.Tensor:
    """Return `total`, and 1 where it is 0, so that the mean over nothing is 0."""
    return paddle.where(total > 0, total, paddle.ones_like(total))


def weight_of_labels(label: paddle.Tensor, weights: paddle.Tensor | None, epsilon: float | None) -> float:
    """Return the divisor of `weighted_mean`: the total weight of the labels, or without weights the batch size."""
    if weights is None:
        return len(label)
    soft = distributions(label, weights.shape[0], epsilon)
    return float((soft.astype("float64") * weights.astype("float64")).sum())


def check_epsilon(epsilon: float | None) -> None:
    """Raise ConfigError unless the label smoothing is in [0, 1)."""
    if epsilon is not None and not 0 <= epsilon < 1:
        raise ConfigError(f"epsilon: expected a number in [0, 1), got {epsilon}")


def require_positive(**options: float) -> None:
    """Raise ConfigError unless all options are finite and above 0."""
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"{name}: expected a number above 0, got {value}")


def require_not_negative(**options: float) -> None:
    """Raise ConfigError unless all options are finite and not below 0."""
    for name, value in options.items():
        if not 0 <= value < math.inf:
            raise ConfigError(f"{name}: expected a number of 0 or more, got {value}")
