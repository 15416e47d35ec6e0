"""Checkpoints that are whole or not there, with PaddleClas's file names.

A checkpoint is `PREFIX.pdparams`, `PREFIX.pdopt`, `PREFIX.pdstates` and `PREFIX.manifest`, which lists the others with
sizes and SHA-256. The files are first written as `PREFIX.new.*`, the manifest last: from then on the new checkpoint
counts, and moving the files to their names can be finished by whoever finds them. Before that moment the old one does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppzoo.engine.state import TrainState
from ppzoo.errors import CheckpointError
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.files import sync_folder, write_atomically
from ppzoo.weights import load_weights, read_state, save_pdparams, save_state

logger = logging.getLogger("ppzoo")

CONTENT = (".pdparams", ".pdopt", ".pdstates")
MANIFEST = ".manifest"
BESIDE_ACCUMULATORS = {"LR_Scheduler", "master_weights"}


class Checkpoints(Callback):
    """Saves the state of a run: `latest` after each epoch, `best_model` after one that was the best, `epoch_N`.

    Args:
        folder: the files go there.
        interval: epochs between two `epoch_N`.
        keep: how many `epoch_N` stay; None for all.
        interval_steps: steps between two `latest` within an epoch; None for none.
    """

    def __init__(
        self, state: TrainState, folder: Path, interval: int, keep: int | None = None, interval_steps: int | None = None
    ) -> None:
        self.state, self.folder = state, folder
        self.interval, self.keep, self.interval_steps = interval, keep, interval_steps

    def on_step_end(self, report: StepReport) -> None:
        done = report.epoch * report.steps + report.step + 1
        if self.interval_steps and done % self.interval_steps == 0:
            save(self.state, self.folder / "latest")

    def on_epoch_end(self, report: EpochReport) -> None:
        latest = self.folder / "latest"
        save(self.state, latest)
        if report.is_best:
            copy(latest, self.folder / "best_model")
        if (report.epoch + 1) % self.interval == 0:
            copy(latest, self.folder / f"epoch_{report.epoch + 1}")
            self._drop_old()

    def on_interrupt(self) -> None:
        save(self.state, self.folder / "latest")

    def _drop_old(self) -> None:
        numbered = sorted(self.folder.glob(f"epoch_*{MANIFEST}"), key=lambda file: int(file.stem.partition("_")[2]))
        for manifest in numbered[: -self.keep] if self.keep else []:
            for suffix in (MANIFEST, *CONTENT):
                manifest.with_suffix(suffix).unlink(missing_ok=True)


def save(state: TrainState, prefix: Path) -> None:
    """Write the checkpoint `prefix` in the place of an older one.

    Raises:
        CheckpointError: the disk is full or the folder gone; the older checkpoint stays.
    """
    staged = _staged(prefix)
    try:
        finish(prefix)
        save_pdparams(state.model.state_dict(), f"{staged}.pdparams")
        save_state(state.optimizer.state_dict(), f"{staged}.pdopt")
        save_state(state.progress_dict(), f"{staged}.pdstates")
        _announce(prefix)
    except OSError as error:
        raise CheckpointError(
            f"{prefix}: cannot be written ({error.strerror}); the checkpoint before it is whole"
        ) from error


def copy(source: Path, target: Path) -> None:
    """Make the checkpoint `target` of `source`, without a second copy on disk where the file system can."""
    finish(target)
    for suffix in CONTENT:
        try:
            os.link(f"{source}{suffix}", f"{_staged(target)}{suffix}")
        except OSError:
            shutil.copyfile(f"{source}{suffix}", f"{_staged(target)}{suffix}")
    _announce(target)


def restore(state: TrainState, prefix: Path) -> None:
    """Bring `state` to where it was when `prefix` was saved, by ppzoo or by PaddleClas.

    Raises:
        CheckpointError: a file is missing or damaged, or belongs to another run.
        WeightsError: the weights do not fit the network.
    """
    prefix = prefix.with_suffix("") if prefix.suffix in CONTENT else prefix
    finish(prefix)
    if Path(f"{prefix}{MANIFEST}").exists():
        _require_whole(prefix)
    for suffix in CONTENT:
        if not Path(f"{prefix}{suffix}").is_file():
            raise CheckpointError(
                f"Global.checkpoints: expected {prefix}.pdparams, .pdopt and .pdstates, but {prefix}{suffix} does not"
                " exist; weights alone are loaded by Global.pretrained_model"
            )
    accumulators = read_state(f"{prefix}.pdopt")
    _require_same_parameters(state, accumulators, prefix)
    try:
        state.restore_progress(read_state(f"{prefix}.pdstates"))
    except CheckpointError as error:
        raise CheckpointError(f"{prefix}: {error}; give the same configuration, or begin anew without it") from error
    load_weights(state.model, f"{prefix}.pdparams", head="strict")
    schedule = accumulators.get("LR_Scheduler", {})
    accumulators["LR_Scheduler"] = {key: schedule[key] for key in state.schedule.state_dict() if key in schedule}
    state.optimizer.set_state_dict(accumulators)


def newest(folder: Path) -> Path | None:
    """Prefix of the checkpoint in `folder` that is furthest; damaged ones are named and passed over."""
    found: list[tuple[tuple[int, int], Path]] = []
    for prefix in _prefixes(folder):
        finish(prefix)
        try:
            _require_whole(prefix)
        except CheckpointError as error:
            logger.warning("%s; passed over", error)
            continue
        saved = read_state(f"{prefix}.pdstates")
        found.append(((saved["epoch"], saved["step"]), prefix))
    return max(found)[1] if found else None


def finish(prefix: Path) -> None:
    """Finish or undo the saving of `prefix` if it was cut off."""
    listed = _manifest(Path(f"{_staged(prefix)}{MANIFEST}"))
    if listed is None:
        _discard_unfinished(prefix)
    else:
        _move_in_place(prefix)


def _prefixes(folder: Path) -> Iterator[Path]:
    """Of all checkpoints in a folder, those being announced included."""
    names = {file.name.removesuffix(MANIFEST).removesuffix(".new") for file in folder.glob(f"*{MANIFEST}")}
    return (folder / name for name in sorted(names))


def _staged(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.new")


def _announce(prefix: Path) -> None:
    """The staged files are complete: from the manifest's writing on they are the checkpoint."""
    staged = _staged(prefix)
    listed = {}
    for suffix in CONTENT:
        path = f"{staged}{suffix}"
        listed[suffix] = {"size": os.path.getsize(path), "sha256": _sha256(path)}
    text = json.dumps(listed, indent=1).encode()
    write_atomically(f"{staged}{MANIFEST}", lambda file: file.write(text))
    _move_in_place(prefix)


def _move_in_place(prefix: Path) -> None:
    for suffix in (*CONTENT, MANIFEST):
        if os.path.exists(f"{_staged(prefix)}{suffix}"):
            os.replace(f"{_staged(prefix)}{suffix}", f"{prefix}{suffix}")
    sync_folder(prefix.parent)


def _discard_unfinished(prefix: Path) -> None:
    staged = _staged(prefix)
    for leftover in [*prefix.parent.glob(f"{staged.name}.*"), *prefix.parent.glob(f".{staged.name}.*.tmp")]:
        leftover.unlink()


def _manifest(path: Path) -> dict[str, dict[str, Any]] | None:
    """What a manifest lists; None where there is none."""
    if not path.exists():
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return {suffix: {"size": listed[suffix]["size"], "sha256": listed[suffix]["sha256"]} for suffix in CONTENT}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: it is no manifest") from error


def _require_whole(prefix: Path) -> None:
    listed = _manifest(Path(f"{prefix}{MANIFEST}"))
    for suffix, expected in (listed or {}).items():
        path = f"{prefix}{suffix}"
        size = os.path.getsize(path) if os.path.exists(path) else None
        if size != expected["size"]:
            raise CheckpointError(f"{path} is damaged: expected {expected['size']} bytes, received {size or 'nothing'}")
        if _sha256(path) != expected["sha256"]:
            raise CheckpointError(f"{path} is damaged: its content is not what was saved")


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _require_same_parameters(state: TrainState, accumulators: dict[str, Any], prefix: Path) -> None:
    """Optimizer states are keyed by parameter name and accumulator: all parameters must be there, and no others."""
    keys = accumulators.keys() - BESIDE_ACCUMULATORS
    if not keys:
        return  # the optimizer gathers nothing, or has made no step
    owned: set[str] = set()
    for parameter in state.model.parameters():
        mine = {key for key in keys if key.startswith(f"{parameter.name}_")}
        if not mine and not parameter.stop_gradient:
            raise CheckpointError(f"{prefix}.pdopt: there is no entry of the parameter {parameter.name!r}")
        owned |= mine
    if keys - owned:
        raise CheckpointError(f"{prefix}.pdopt: {min(keys - owned)!r} belongs to no parameter of this network")
