"""Training and evaluation of objects that others have built."""

from ppzoo.engine.checkpoint import Checkpoints, newest, restore
from ppzoo.engine.device import select_device
from ppzoo.engine.evaluator import evaluate
from ppzoo.engine.folder import open_folder
from ppzoo.engine.state import Progress, TrainState
from ppzoo.engine.trainer import Plan, Trainer

__all__ = [
    "Checkpoints",
    "Plan",
    "Progress",
    "TrainState",
    "Trainer",
    "evaluate",
    "newest",
    "open_folder",
    "restore",
    "select_device",
]
