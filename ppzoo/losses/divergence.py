"""The Kullback-Leibler divergence of softened outputs."""

from __future__ import annotations

from typing import Any

import paddle

from ppzoo.errors import DataError
from ppzoo.losses.base import LOSSES, Loss, logits_of, require_positive
from ppzoo.losses.cross_entropy import log_softmax


def kl_divergence(log_p: paddle.Tensor, log_q: paddle.Tensor) -> paddle.Tensor:
    """Return sum(q (log q - log p)) over the classes for each image (N), from log-probabilities N x C."""
    return (log_q.exp() * (log_q - log_p)).sum(axis=-1)


def softened_divergence(logits: paddle.Tensor, target: paddle.Tensor, temperature: float) -> paddle.Tensor:
    """Return the `kl_divergence` of logits N x C from target logits, both divided by the temperature."""
    return kl_divergence(log_softmax(logits / temperature), log_softmax(target / temperature))


@LOSSES.register
class KLDivLoss(Loss):
    """Kullback-Leibler divergence of the output from labels that are logits, both softened: arXiv:1503.02531.

    Hinton et al.: "Distilling the Knowledge in a Neural Network". The labels are N x C. The result is multiplied by
    temperature ** 2, so that the size of the gradients does not depend on the temperature. For the logits of another
    network use `DistillationKLDivLoss`.

    Args:
        temperature: divisor of the logits, above 0.
    """

    def __init__(self, *, temperature: float = 4) -> None:
        require_positive(temperature=temperature)
        self.temperature = temperature

    def __call__(self, output: Any, label: paddle.Tensor) -> paddle.Tensor:
        logits = logits_of(output)
        if label.shape != logits.shape or not label.is_floating_point():
            expected = " x ".join(map(str, logits.shape))
            raise DataError(
                f"KLDivLoss: expected labels that are logits of shape {expected}, got labels of shape"
                f" {list(label.shape)} and type {label.dtype}; use CELoss for class indices, or DistillationKLDivLoss"
                " for the logits of another network"
            )
        divergence = softened_divergence(logits, label.astype(logits.dtype), self.temperature)
        return divergence.mean() * self.temperature**2
