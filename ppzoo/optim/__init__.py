"""Optimizers and learning-rate schedules by PaddleClas's names."""

from ppzoo.backports import apply_backports
from ppzoo.optim import cycles, decays, plateau  # noqa: F401  (each registers its schedules)
from ppzoo.optim.optimizers import OPTIMIZERS, Recipe
from ppzoo.optim.plateau import ReduceOnPlateau
from ppzoo.optim.regularizers import CLIPS, REGULARIZERS
from ppzoo.optim.schedule import SCHEDULES, Schedule

__all__ = ["CLIPS", "OPTIMIZERS", "REGULARIZERS", "SCHEDULES", "Recipe", "ReduceOnPlateau", "Schedule"]

apply_backports()
