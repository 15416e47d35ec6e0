"""Losses by PaddleClas's names."""

from ppzoo.losses import cross_entropy, distillation, divergence, multi_label  # noqa: F401  (each registers its losses)
from ppzoo.losses.base import LOSSES, Loss
from ppzoo.losses.combined import CombinedLoss

__all__ = ["LOSSES", "CombinedLoss", "Loss"]
