"""Mixup or CutMix at random, per batch, pair or image, as in PyTorch Image Models (timm)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ppzoo.data.batch_transforms.mixing import draw_box, share_outside
from ppzoo.data.batch_transforms.registry import BATCH_TRANSFORMS, mix_labels, soft_labels
from ppzoo.errors import ConfigError


@BATCH_TRANSFORMS.register
class MixupCutmixHybrid:
    """Mixup or CutMix of the first image of a batch with the last, of the second with the last but one, and so on.

    (PaddleClas's modes "pair" and "elem" mix the labels of CutMix but not its images.)

    Args:
        class_num: number of classes.
        mixup_alpha: parameter of the beta distribution of mixup; 0: no mixup.
        cutmix_alpha: parameter of the beta distribution of CutMix; 0: no CutMix.
        cutmix_minmax: [lowest, highest] side of CutMix's rectangle, as fractions of the image's side; replaces
            `cutmix_alpha`.
        prob: probability of mixing.
        switch_prob: probability of CutMix if both mixup and CutMix are used.
        mode: draw one mixing ratio and one rectangle per "batch", "pair" or image ("elem").
        correct_lam: mix labels by the area of the rectangle after clipping at the edge; if false, before clipping
            (with `cutmix_minmax` always after clipping).
        label_smoothing: label smoothing of the labels before they are mixed, from 0 to 1.
        num_classes: accepted for PaddleClas's configurations; must be equal to the number of classes.

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
                "MixupCutmixHybrid: expected mixup_alpha and cutmix_alpha of 0 or more, at least one above 0, got "
                f"{mixup_alpha} and {cutmix_alpha}"
            )
        for name, value in (("prob", prob), ("switch_prob", switch_prob), ("label_smoothing", label_smoothing)):
            if not 0 <= value <= 1:
                raise ConfigError(f"MixupCutmixHybrid.{name}: expected a number from 0 to 1, got {value!r}")
        if cutmix_minmax is not None and (len(cutmix_minmax) != 2 or not 0 < cutmix_minmax[0] < cutmix_minmax[1] < 1):
            raise ConfigError(
                f"MixupCutmixHybrid.cutmix_minmax: expected [lowest, highest] between 0 and 1, got {cutmix_minmax!r}"
            )
        if mode not in ("batch", "pair", "elem"):
            raise ConfigError(f"MixupCutmixHybrid.mode: expected 'batch', 'pair' or 'elem', got {mode!r}")
        if num_classes not in (None, class_num):
            raise ConfigError(
                f"MixupCutmixHybrid.num_classes: expected Arch.class_num ({class_num}), got {num_classes}: remove it"
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
        """Return the groups of images for which one mixing ratio is drawn."""
        if self.mode == "batch":
            return [list(range(count))]
        if self.mode == "pair":
            return [[index, count - 1 - index] for index in range((count + 1) // 2)]
        return [[index] for index in range(count)]

    def _mix(self, mixed: np.ndarray, images: np.ndarray, members: list[int], random: np.random.Generator) -> float:
        """Mix some images with their counterparts; return the fraction of each image that remains."""
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
