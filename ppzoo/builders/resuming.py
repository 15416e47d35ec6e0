"""Resume runs: find checkpoints, compare runs, recognize finished runs, and apply rollbacks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ppzoo import engine
from ppzoo.builders.component_factory import class_count, describe_arch
from ppzoo.config import Config, OptimizerConfig, SplitConfig, to_plain
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, errors_with_key
from ppzoo.files import local_path, output_folder

ROLLBACK_FACTOR = 0.5  # on the learning rate, for each rollback
# Keys of `Global`: paths, and the class names, which a checkpoint contains as part of `identify_run`.
NOT_CHECKPOINTED = ("output_dir", "checkpoints", "class_names")


def output_dir(config: Config) -> Path:
    """Return `Global.output_dir`, which contains the folders of runs."""
    return output_folder(config.Global.output_dir, "Global.output_dir")


def resume_key(resume: str | None) -> str:
    """Return the option or key that names the checkpoint, for messages.

    Args:
        resume: the value of the option `--resume`, which overrides `Global.checkpoints`.
    """
    return "--resume" if resume else "Global.checkpoints"


def find_checkpoint(folder: Path, requested: str | None, key: str) -> Path | None:
    """Return the prefix of the requested checkpoint; for "auto", the newest complete one in `folder`, if any.

    Args:
        key: the option or key whose value is `requested`, for messages.

    Raises:
        ConfigError: `requested` is a URL or a folder such as ".".
        CheckpointError: a file of the requested checkpoint is missing, or has another size than when it was saved.
        PpzooError: with "auto", another run is writing into `folder`.
    """
    if not requested:
        return None
    if requested != "auto":
        prefix = local_path(requested, key)
        if not prefix.name:  # "." or "/"
            raise ConfigError(f"{key}: expected a checkpoint, such as output/LeNet/latest, got {requested!r}")
        with errors_with_key(key):
            engine.require_checkpoint(prefix)
        return prefix
    engine.require_unlocked(folder)
    # isdir returns False, too, for a name that is too long.
    return engine.latest_checkpoint(folder) if os.path.isdir(folder) else None


def identify_run(
    config: Config, split: SplitConfig, optimizer: OptimizerConfig, loader: Loader, steps: engine.StepLoader
) -> dict[str, Any]:
    """Return what a checkpoint must have in common with the run that resumes from it."""
    dataset = loader.samples.dataset
    return {
        "architecture": describe_arch(config.Arch),
        "number of classes": class_count(config.Arch),
        "optimizer": optimizer.spec.name,
        "seed": config.Global.seed or 0,
        "data set": split.dataset.spec.name,
        "number of samples": len(dataset),
        "labels": hashlib.sha256(dataset.labels.tobytes()).hexdigest()[:16],
        "classes": list(dataset.classes) if dataset.classes else None,
        "steps per epoch": len(steps),
        "batches per step": steps.update_freq,
    }


def checkpointed_config(config: Config) -> dict[str, Any]:
    """Return the configuration that a checkpoint contains: without the paths of the run and the class names."""
    run = to_plain(config.Global) or {}
    return {**config.to_dict(), "Global": {key: value for key, value in run.items() if key not in NOT_CHECKPOINTED}}


def describe_finished(state: engine.TrainState, epochs: int, checkpoint: Path) -> str | None:
    """Return why nothing is left to train after `checkpoint`, and how to continue; None if something is left."""
    done, early_stopping = state.progress.epoch, state.early_stopping
    if done >= epochs:
        reason = f"trained {done} of {epochs} epochs" if done == epochs else f"trained {done} epochs (of {epochs})"
        setting = f"Global.epochs={done + epochs}"
    elif early_stopping is not None and early_stopping.should_stop:
        reason = f"stopped early after {done} of {epochs} epochs"
        setting = f"Global.early_stopping.patience={early_stopping.waited + early_stopping.patience}"
    else:
        return None
    return f"{checkpoint} has already {reason}; to continue training, add -o {setting}"


def apply_rollbacks(state: engine.TrainState, steps: engine.StepLoader, rollbacks: int) -> None:
    """Give a run that was rolled back another shuffle and a smaller learning rate.

    Args:
        rollbacks: how often it was rolled back so far; a restored `state` can have a higher number.
    """
    state.progress.rollbacks = max(rollbacks, state.progress.rollbacks)
    steps.rollbacks = state.progress.rollbacks
    state.scheduler.damping = ROLLBACK_FACTOR**state.progress.rollbacks
