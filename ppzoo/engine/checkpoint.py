"""Checkpoints with PaddleClas's file names: `.pdparams`, `.pdopt` and `.pdstates` of one prefix.

`latest` is written after every epoch, `best_model` after an epoch that was the best, `epoch_N` every so many epochs.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from ppzoo.engine.state import Progress, TrainState
from ppzoo.errors import CheckpointError
from ppzoo.events import Callback, EpochReport
from ppzoo.weights import load_weights, read_state, save_pdparams, save_state

BESIDE_ACCUMULATORS = {"LR_Scheduler", "master_weights"}


class Checkpoints(Callback):
    """Saves the state of a run.

    Args:
        folder: the files go there.
        interval: epochs between two files `epoch_N`.
    """

    def __init__(self, state: TrainState, folder: Path, interval: int) -> None:
        self.state, self.folder, self.interval = state, folder, interval

    def on_epoch_end(self, report: EpochReport) -> None:
        names = ["latest"]
        if report.is_best:
            names.append("best_model")
        if (report.epoch + 1) % self.interval == 0:
            names.append(f"epoch_{report.epoch + 1}")
        for name in names:
            save(self.state, self.folder / name)


def save(state: TrainState, prefix: Path) -> None:
    """Write `PREFIX.pdparams`, `PREFIX.pdopt` and `PREFIX.pdstates`, each atomically."""
    save_pdparams(state.model.state_dict(), f"{prefix}.pdparams")
    save_state(state.optimizer.state_dict(), f"{prefix}.pdopt")
    save_state(state.progress_dict(), f"{prefix}.pdstates")


def restore(state: TrainState, prefix: Path) -> None:
    """Bring `state` to where it was when `prefix` was saved.

    Raises:
        CheckpointError: a file is missing, or belongs to another optimizer or network.
        WeightsError: the weights do not fit the network.
    """
    prefix = prefix.with_suffix("") if prefix.suffix == ".pdparams" else prefix
    for suffix in (".pdparams", ".pdopt", ".pdstates"):
        if not Path(f"{prefix}{suffix}").is_file():
            raise CheckpointError(
                f"Global.checkpoints: expected {prefix}.pdparams, .pdopt and .pdstates, but {prefix}{suffix} does not"
                " exist; weights alone are loaded by Global.pretrained_model"
            )
    accumulators = read_state(f"{prefix}.pdopt")
    _require_same_parameters(state, accumulators, prefix)
    saved = read_state(f"{prefix}.pdstates")
    load_weights(state.model, f"{prefix}.pdparams", head="strict")
    state.optimizer.set_state_dict(accumulators)
    names = {field.name for field in fields(Progress)}
    state.progress = Progress(**{name: value for name, value in saved.items() if name in names})


def _require_same_parameters(state: TrainState, accumulators: dict[str, Any], prefix: Path) -> None:
    """Optimizer states are keyed by parameter name and accumulator: each must belong to a parameter of the model."""
    names = sorted((parameter.name for parameter in state.model.parameters()), key=len, reverse=True)
    for key in accumulators:
        if key not in BESIDE_ACCUMULATORS and not any(key.startswith(f"{name}_") for name in names):
            raise CheckpointError(f"{prefix}.pdopt: the entry {key!r} belongs to no parameter of this network")
