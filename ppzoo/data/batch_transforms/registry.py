"""The table of batch transforms, what one is, and the soft labels that all of them make."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ppzoo.errors import ConfigError, DataError
from ppzoo.registry import Registry


class BatchTransform(Protocol):
    """One step of mixing: N x C x H x W images, which it may change in place, and their labels.

    Labels are indices (N) or soft (N x classes, float32); the answer's are soft. All that is random is drawn from
    `random`.
    """

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]: ...


BATCH_TRANSFORMS: Registry[type] = Registry("batch transform")


def soft_labels(labels: np.ndarray, class_num: int) -> np.ndarray:
    """Labels as distributions over the classes, N x `class_num` float32.

    Raises:
        DataError: an index that is no class, or soft labels of other classes.
    """
    if labels.ndim == 2 and labels.shape[1] == class_num:
        return labels.astype(np.float32)
    if labels.ndim != 1 or labels.min() < 0 or labels.max() >= class_num:
        received = f"the shape {labels.shape}" if labels.ndim != 1 else f"{labels.min()} to {labels.max()}"
        raise DataError(
            f"expected labels from 0 to {class_num - 1} to mix, got {received}: correct Arch.class_num or the labels"
        )
    soft = np.zeros((len(labels), class_num), np.float32)
    soft[np.arange(len(labels)), labels] = 1
    return soft


def mix_labels(soft: np.ndarray, others: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """`share` of soft labels and the rest of others, float32."""
    return (soft * share + others * (1 - share)).astype(np.float32)


def check_alpha(name: str, alpha: float) -> float:
    """`alpha`, the parameter of a beta distribution."""
    if not alpha > 0:
        raise ConfigError(f"{name}.alpha: expected a number above 0, got {alpha!r}")
    return alpha
