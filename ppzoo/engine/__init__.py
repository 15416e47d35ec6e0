"""Training and evaluation; `ppzoo.builders` builds the models, losses, metrics and data loaders for them."""

from ppzoo.engine.amp import GradScaler, MixedPrecision, choose_mixed_precision
from ppzoo.engine.checkpoint.atomic_files import require_undamaged
from ppzoo.engine.checkpoint.checkpoint import (
    CheckpointSaver,
    latest_checkpoint,
    load_checkpoint,
    require_checkpoint,
)
from ppzoo.engine.checkpoint.student import StudentWeights
from ppzoo.engine.device import enable_determinism, require_device, select_device
from ppzoo.engine.distributed import SINGLE_PROCESS, ProcessGroup, init_process_group, share_files
from ppzoo.engine.early_stopping import EarlyStopping
from ppzoo.engine.ema import ExponentialMovingAverage
from ppzoo.engine.evaluator import evaluate
from ppzoo.engine.grad_accumulation import StepLoader
from ppzoo.engine.lr_finder import MIN_STEPS, ExponentialRange, OnStep, RangeTest, run_range_test
from ppzoo.engine.profiler import Profiler, count_profiled_steps, device_clock, profile_training
from ppzoo.engine.protocols import EvaluationObserver
from ppzoo.engine.run_dir import open_run_dir, require_unlocked
from ppzoo.engine.step_profile import Profile, chrome_trace
from ppzoo.engine.train_state import Progress, TrainState
from ppzoo.engine.trainer import Plan, Trainer
from ppzoo.engine.tta import TtaModel, zip_views

__all__ = [
    "MIN_STEPS",
    "SINGLE_PROCESS",
    "CheckpointSaver",
    "EarlyStopping",
    "EvaluationObserver",
    "ExponentialMovingAverage",
    "ExponentialRange",
    "GradScaler",
    "MixedPrecision",
    "OnStep",
    "Plan",
    "ProcessGroup",
    "Profile",
    "Profiler",
    "Progress",
    "RangeTest",
    "StepLoader",
    "StudentWeights",
    "TrainState",
    "Trainer",
    "TtaModel",
    "choose_mixed_precision",
    "chrome_trace",
    "count_profiled_steps",
    "device_clock",
    "enable_determinism",
    "evaluate",
    "init_process_group",
    "latest_checkpoint",
    "load_checkpoint",
    "open_run_dir",
    "profile_training",
    "require_checkpoint",
    "require_device",
    "require_undamaged",
    "require_unlocked",
    "run_range_test",
    "select_device",
    "share_files",
    "zip_views",
]
