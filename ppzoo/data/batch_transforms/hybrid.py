"""Mixup and CutMix in turn, by one share a batch, a pair or an image, as PyTorch Image Models (timm) does it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ppzoo.data.batch_transforms.mixing import draw_box, share_outside
from ppzoo.data.batch_transforms.registry import BATCH_TRANSFORMS, mix_labels, soft_labels
from ppzoo.errors import ConfigError


@BATCH_TRANSFORMS.register
class MixupCutmixHybrid:
    """The first image of a batch is mixed with the last, the second with the last but one, and so on.

    (PaddleClas's modes "pair" and "elem" mix the labels of CutMix but not its images.)

    Args:
        class_num: number of classes.
        mixup_alpha, cutmix_alpha: parameter of the beta distribution of each; 0: not used.
        cutmix_minmax: [lowest, highest] side of CutMix's rectangle, as shares of the image's, in place of
            `cutmix_alpha`.
        prob: probability of mixing.
        switch_prob: probability of CutMix where both are used.
        mode: what one share and one rectangle are drawn for.
        correct_lam: mix labels by what the edge leaves of the rectangle, not by what was drawn.
        label_smoothing: smoothing of the labels that are mixed.
        num_classes: accepted for PaddleClas's files; it must be the number of classes.

    Raises:
        ConfigError: an option out of its range.
    """

    def __init__(
        self,
        *,
        class_num: int,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: list[float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: Literal["batch", "pair", "elem"] = "batch",
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int | None = None,
    ) -> None:
        if min(mixup_alpha, cutmix_alpha) < 0 or (max(mixup_alpha, cutmix_alpha) == 0 and cutmix_minmax is None):
            raise ConfigError(
                "MixupCutmixHybrid: expected mixup_alpha or cutmix_alpha above 0, and neither below, got "
                f"{mixup_alpha} and {cutmix_alpha}"
            )
        for name, value in (("prob", prob), ("switch_prob", switch_prob), ("label_smoothing", label_smoothing)):
            if not 0 <= value <= 1:
                raise ConfigError(f"MixupCutmixHybrid.{name}: expected 0 to 1, got {value!r}")
        if cutmix_minmax is not None and (len(cutmix_minmax) != 2 or not 0 < cutmix_minmax[0] < cutmix_minmax[1] < 1):
            raise ConfigError(
                f"MixupCutmixHybrid.cutmix_minmax: expected [lowest, highest] between 0 and 1, got {cutmix_minmax!r}"
            )
        if mode not in ("batch", "pair", "elem"):
            raise ConfigError(f"MixupCutmixHybrid.mode: expected 'batch', 'pair' or 'elem', got {mode!r}")
        if num_classes not in (None, class_num):
            raise ConfigError(
                f"MixupCutmixHybrid.num_classes: expected Arch.class_num ({class_num}), got {num_classes}: leave it out"
            )
        self.class_num, self.mode, self.minmax = class_num, mode, cutmix_minmax
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, 1.0 if cutmix_minmax else cutmix_alpha
        self.prob, self.switch_prob = prob, switch_prob
        self.correct_lam, self.label_smoothing = correct_lam, label_smoothing

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        soft = soft_labels(labels, self.class_num) * (1 - self.label_smoothing) + self.label_smoothing / self.class_num
        shares = np.ones((len(images), 1))
        mixed = images.copy()
        for members in self._groups(len(images)):
            if random.random() < self.prob:
                shares[members] = self._mix(mixed, images, members, random)
        return mixed, mix_labels(soft, soft[::-1], shares)

    def _groups(self, count: int) -> list[list[int]]:
        """The images that one share is drawn for."""
        if self.mode == "batch":
            return [list(range(count))]
        if self.mode == "pair":
            return [[index, count - 1 - index] for index in range((count + 1) // 2)]
        return [[index] for index in range(count)]

    def _mix(self, mixed: np.ndarray, images: np.ndarray, members: list[int], random: np.random.Generator) -> float:
        """Mix some images with their opposites; the share that is left of them."""
        opposite = [len(images) - 1 - member for member in members]
        cuts = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or random.random() < self.switch_prob)
        alpha = self.cutmix_alpha if cuts else self.mixup_alpha
        share = float(random.beta(alpha, alpha))
        if not cuts:
            mixed[members] = images[members] * share + images[opposite] * (1 - share)
            return share
        height, width = images.shape[2:]
        rows, columns = self._box(height, width, share, random)
        mixed[members, :, rows, columns] = images[opposite, :, rows, columns]
        corrects = self.correct_lam or self.minmax is not None
        return share_outside(rows, columns, height, width) if corrects else share

    def _box(self, height: int, width: int, share: float, random: np.random.Generator) -> tuple[slice, slice]:
        if self.minmax is None:
            return draw_box(height, width, share, random)
        low, high = self.minmax
        spans = []
        for side in (height, width):
            length = int(random.integers(int(side * low), max(int(side * high), int(side * low) + 1)))
            start = int(random.integers(side - length))
            spans.append(slice(start, start + length))
        return spans[0], spans[1]
