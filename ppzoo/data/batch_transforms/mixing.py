"""Mixup and CutMix: each image of a batch is mixed with another one, with one ratio per batch."""

from __future__ import annotations

import math

import numpy as np

from ppzoo.data.batch_transforms.registry import BATCH_TRANSFORMS, check_alpha, mix_labels, soft_labels


@BATCH_TRANSFORMS.register
class MixupOperator:
    """Weighted mean of each image and another one of the batch; the weight is beta-distributed.

    Zhang et al.: "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.

    Args:
        class_num: number of classes.
        alpha: both parameters of the beta distribution, above 0.
    """

    def __init__(self, *, class_num: int, alpha: float = 1.0) -> None:
        self.class_num, self.alpha = class_num, check_alpha("MixupOperator", alpha)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        order, share = random.permutation(len(images)), float(random.beta(self.alpha, self.alpha))
        soft = soft_labels(labels, self.class_num)
        others = images[order]
        others *= 1 - share
        images *= share
        images += others
        return images, mix_labels(soft, soft[order], share)


@BATCH_TRANSFORMS.register
class CutmixOperator:
    """Replace a rectangle of each image by the same part of another image; the rectangle's area is beta-distributed.

    Yun et al.: "CutMix: Regularization Strategy to Train Strong Classifiers", arXiv:1905.04899. The rectangle is
    clipped at the edge, and labels are mixed by its area after clipping.

    Args:
        class_num: number of classes.
        alpha: both parameters of the beta distribution, above 0.
    """

    def __init__(self, *, class_num: int, alpha: float = 0.2) -> None:
        self.class_num, self.alpha = class_num, check_alpha("CutmixOperator", alpha)

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        order, share = random.permutation(len(images)), float(random.beta(self.alpha, self.alpha))
        soft = soft_labels(labels, self.class_num)
        height, width = images.shape[2:]
        rows, columns = draw_box(height, width, share, random)
        images[:, :, rows, columns] = images[order, :, rows, columns]
        return images, mix_labels(soft, soft[order], share_outside(rows, columns, height, width))


def draw_box(height: int, width: int, share: float, random: np.random.Generator) -> tuple[slice, slice]:
    """Return rows and columns of a box around a random pixel; before clipping it has (1 - share) of the area."""
    root = math.sqrt(1 - share)
    rows, columns = (_clipped(int(random.integers(side)), int(side * root) // 2, side) for side in (height, width))
    return rows, columns


def _clipped(center: int, half: int, side: int) -> slice:
    return slice(max(center - half, 0), min(center + half, side))


def share_outside(rows: slice, columns: slice, height: int, width: int) -> float:
    """Return the fraction of the area outside of a box."""
    return 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
