"""Training and evaluation of objects that others have built."""

from ppzoo.engine.average import WeightAverage
from ppzoo.engine.checkpoint import Checkpoints, newest, restore
from ppzoo.engine.device import compute_deterministically, select_device
from ppzoo.engine.evaluator import evaluate
from ppzoo.engine.folder import open_folder, refuse_if_held
from ppzoo.engine.patience import EarlyStopping
from ppzoo.engine.precision import LossScaler, Precision, mixed_precision
from ppzoo.engine.processes import ALONE, Processes, files_of_first, join_processes
from ppzoo.engine.state import Progress, TrainState
from ppzoo.engine.steps import Steps
from ppzoo.engine.student import StudentWeights
from ppzoo.engine.trainer import Plan, Trainer
from ppzoo.engine.views import ViewAverage, side_by_side

__all__ = [
    "ALONE",
    "Checkpoints",
    "EarlyStopping",
    "LossScaler",
    "Plan",
    "Precision",
    "Processes",
    "Progress",
    "Steps",
    "StudentWeights",
    "TrainState",
    "Trainer",
    "ViewAverage",
    "WeightAverage",
    "compute_deterministically",
    "evaluate",
    "files_of_first",
    "join_processes",
    "mixed_precision",
    "newest",
    "open_folder",
    "refuse_if_held",
    "restore",
    "select_device",
    "side_by_side",
]
