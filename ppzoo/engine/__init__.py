"""Training and evaluation of models, losses, metrics and data loaders that `ppzoo.builders` builds."""

from ppzoo.engine.amp import GradScaler, MixedPrecision, build_mixed_precision
from ppzoo.engine.checkpoint.checkpoint import CheckpointSaver, latest_checkpoint, load_checkpoint
from ppzoo.engine.checkpoint.student import StudentWeights
from ppzoo.engine.device import enable_determinism, require_device, select_device
from ppzoo.engine.distributed import SINGLE_PROCESS, ProcessGroup, init_process_group, share_files
from ppzoo.engine.early_stopping import EarlyStopping
from ppzoo.engine.ema import ExponentialMovingAverage
from ppzoo.engine.evaluator import evaluate
from ppzoo.engine.grad_accumulation import StepLoader
from ppzoo.engine.run_dir import open_run_dir, require_unlocked
from ppzoo.engine.train_state import Progress, TrainState
from ppzoo.engine.trainer import Plan, Trainer
from ppzoo.engine.tta import TtaModel, zip_views

__all__ = [
    "SINGLE_PROCESS",
    "CheckpointSaver",
    "EarlyStopping",
    "ExponentialMovingAverage",
    "GradScaler",
    "MixedPrecision",
    "Plan",
    "ProcessGroup",
    "Progress",
    "StepLoader",
    "StudentWeights",
    "TrainState",
    "Trainer",
    "TtaModel",
    "build_mixed_precision",
    "enable_determinism",
    "evaluate",
    "init_process_group",
    "latest_checkpoint",
    "load_checkpoint",
    "open_run_dir",
    "require_device",
    "require_unlocked",
    "select_device",
    "share_files",
    "zip_views",
]
