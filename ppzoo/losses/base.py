"""What all losses share: what a network answers, what a label may be, and the mean over a batch."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

from ppzoo.errors import ConfigError, DataError
from ppzoo.registry import Registry

LOSSES: Registry[type[Loss]] = Registry("loss")


class Loss:
    """A loss: called with what the network answers and the labels of a batch, it answers a scalar tensor."""

    @property
    def name(self) -> str:
        """The key of its share in what `CombinedLoss` answers."""
        return type(self).__name__

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError


def logits_of(output: Any) -> paddle.Tensor:
    """The class scores, N x C, of a tensor or of a mapping with "logits"; half precision becomes float32."""
    logits = output["logits"] if isinstance(output, dict) else output
    if isinstance(logits, (list, tuple)):
        raise ConfigError("expected a network with one output, received several; GoogLeNetLoss takes three")
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
    raise DataError(f"expected labels of N, N x 1 or N x {class_num} (the network's classes), received {shape}")


def distributions(label: paddle.Tensor, class_num: int, epsilon: float | None) -> paddle.Tensor:
    """Labels as distributions, N x C float; with `epsilon` (1 - epsilon) * q + epsilon / C of them.

    Soft labels are used as they are. Smoothing: Szegedy et al., arXiv:1512.00567, section 7.
    """
    if is_soft(label, class_num):
        soft = label if label.is_floating_point() else label.astype("float32")
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
    if not weights or min(weights) < 0 or max(weights) == 0:
        raise ConfigError(f"expected class_weights of 0 or more, some above 0, received {weights}")
    return paddle.to_tensor(weights, dtype="float32")


def weighted_mean(shares: paddle.Tensor, soft: paddle.Tensor, weights: paddle.Tensor | None) -> paddle.Tensor:
    """Mean over a batch of the classes' shares in the loss (N x C), each class by its weight.

    The divisor is the weight that the labels (N x C) give the batch, so that equal weights change nothing.
    """
    if weights is None:
        return shares.sum(axis=-1).mean()
    if shares.shape[-1] != weights.shape[0]:
        raise ConfigError(f"expected {shares.shape[-1]} class_weights, one a class, received {weights.shape[0]}")
    return (shares * weights).sum() / (soft * weights).sum()


def check_epsilon(epsilon: float | None) -> None:
    """Refuse a label smoothing that is not in [0, 1)."""
    if epsilon is not None and not 0 <= epsilon < 1:
        raise ConfigError(f"expected epsilon in [0, 1), received {epsilon}")
