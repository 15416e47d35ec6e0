"""Losses by PaddleClas's names."""

from ppzoo.losses import (  # noqa: F401  (each registers its losses)
    cross_entropy,
    distillation,
    distillation_features,
    distillation_guided,
    distillation_pairs,
    distillation_relations,
    distillation_soft,
    divergence,
    multi_label,
)
from ppzoo.losses.base import BALANCED, LOSSES, Loss
from ppzoo.losses.combined import CombinedLoss

__all__ = ["BALANCED", "LOSSES", "CombinedLoss", "Loss"]
