"""The registry of batch transforms, their protocol, and soft labels."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppzoo.errors import ConfigError, DataError
from ppzoo.registry import Registry


class BatchTransform(Protocol):
    """Mixes a batch of N x C x H x W images, possibly in place, and their labels.

    Labels are indices (N) or soft (N x classes, float32); the returned ones are soft. Random transforms draw from
    `random` only.
    """

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]: ...


BATCH_TRANSFORMS: Registry[type] = Registry("batch transform")


def soft_labels(labels: np.ndarray, class_num: int) -> np.ndarray:
    """Return labels as distributions over the classes, N x `class_num` float32.

    Raises:
        DataError: an index outside [0, class_num), or labels of another shape than (N,) or (N, class_num).
    """
    if labels.ndim == 2 and labels.shape[1] == class_num:
        return labels.astype(np.float32)
    if labels.ndim != 1 or labels.min() < 0 or labels.max() >= class_num:
        received = f"shape {labels.shape}" if labels.ndim != 1 else f"{labels.min()} to {labels.max()}"
        raise DataError(
            f"expected labels from 0 to {class_num - 1} for mixing, got {received}: correct Arch.class_num or the "
            "labels"
        )
    soft = np.zeros((len(labels), class_num), np.float32)
    soft[np.arange(len(labels)), labels] = 1
    return soft


def mix_labels(soft: np.ndarray, others: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Return share * soft + (1 - share) * others, float32."""
    return (soft * share + others * (1 - share)).astype(np.float32)


def check_alpha(name: str, alpha: float) -> float:
    """Return `alpha`, the parameter of a beta distribution; raise ConfigError unless it is above 0."""
    if not alpha > 0:
        raise ConfigError(f"{name}.alpha: expected a number above 0, got {alpha!r}")
    return alpha
