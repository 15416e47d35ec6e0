"""Checkpoints that are whole or not there, with PaddleClas's file names.

A checkpoint is `PREFIX.pdparams`, `PREFIX.pdopt`, `PREFIX.pdstates` and `PREFIX.manifest`, which lists the others with
sizes and SHA-256. The files are first written as `PREFIX.new.*`, the manifest last: from then on the new checkpoint
counts, and moving the files to their names can be finished by whoever finds them. Before that moment the old one does.
Whoever finds them in the folder of a run that is alive leaves them alone.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ppzoo.engine.folder import claim, release
from ppzoo.engine.state import TrainState
from ppzoo.errors import CheckpointError
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.files import sync_folder, write_atomically
from ppzoo.weights import load_weights, read_state, save_pdparams, save_state

logger = logging.getLogger("ppzoo")

CONTENT = (".pdparams", ".pdopt", ".pdstates")
MANIFEST = ".manifest"
BESIDE_ACCUMULATORS = {"LR_Scheduler", "master_weights"}


class NotSavedError(CheckpointError):
    """A checkpoint that could not be written: the run failed, through no fault of its description."""

    exit_status = 1


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

    def close(self) -> None:
        """The run is over: others may write into its folder."""
        release(self.folder)

    def _drop_old(self) -> None:
        if self.keep is None:
            return
        names = (file.name.removesuffix(MANIFEST) for file in self.folder.glob(f"epoch_*{MANIFEST}"))
        numbers = sorted(int(name.partition("_")[2]) for name in names if re.fullmatch(r"epoch_[0-9]+", name))
        for number in numbers[: -self.keep]:
            prefix = self.folder / f"epoch_{number}"
            with _saving(prefix):
                for suffix in (MANIFEST, *CONTENT):
                    Path(f"{prefix}{suffix}").unlink(missing_ok=True)


def save(state: TrainState, prefix: Path) -> None:
    """Write the checkpoint `prefix` in the place of an older one.

    Raises:
        CheckpointError: the disk is full or the folder gone; on a full disk the older checkpoint stays.
    """
    staged = _staged(prefix)
    with _saving(prefix):
        _clear_stage(prefix)
        save_state(state.progress_dict(), f"{staged}.pdstates")  # before what would make a folder that is gone anew
        save_state(state.optimizer.state_dict(), f"{staged}.pdopt")
        save_pdparams(state.model.state_dict(), f"{staged}.pdparams")
        _announce(prefix)


def copy(source: Path, target: Path) -> None:
    """Make the checkpoint `target` of `source`, without a second copy on disk where the file system can.

    Raises:
        CheckpointError: the disk is full or the folder gone; on a full disk the older checkpoint stays.
    """
    with _saving(target):
        _clear_stage(target)
        for suffix in CONTENT:
            try:
                os.link(f"{source}{suffix}", f"{_staged(target)}{suffix}")
            except OSError:
                with open(f"{source}{suffix}", "rb") as original:
                    write_atomically(f"{_staged(target)}{suffix}", partial(shutil.copyfileobj, original))
        _announce(target)


def restore(state: TrainState, prefix: Path) -> None:
    """Bring `state` to where it was when `prefix` was saved, by ppzoo or by PaddleClas.

    Raises:
        CheckpointError: a file is missing or damaged, or belongs to another run.
        WeightsError: the weights do not fit the network.
    """
    prefix = prefix.with_suffix("") if prefix.suffix in CONTENT else prefix
    _finish_if_free(prefix)
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
        try:
            _finish_if_free(prefix)
        except CheckpointError as error:
            logger.warning("%s; passed over", error)  # the checkpoint that it was to replace may be whole
        if not Path(f"{prefix}{MANIFEST}").exists():
            continue
        try:
            _require_whole(prefix)
        except CheckpointError as error:
            logger.warning("%s; passed over", error)
            continue
        saved = read_state(f"{prefix}.pdstates")
        found.append(((saved["epoch"], saved["step"]), prefix))
    return max(found)[1] if found else None


def finish(prefix: Path) -> None:
    """Finish or undo the saving of `prefix` if it was cut off.

    Raises:
        CheckpointError: what was to be finished is damaged; it stays as it is.
    """
    listed = _manifest(Path(f"{_staged(prefix)}{MANIFEST}"))
    if listed is None:
        _discard_unfinished(prefix)
    else:
        _move_in_place(prefix)


def _finish_if_free(prefix: Path) -> None:
    """`finish`, unless nothing was cut off, or the files are another run's that is at work."""
    if any(_unfinished(prefix)):
        with claim(prefix.parent) as is_ours:
            if is_ours:
                finish(prefix)


@contextmanager
def _saving(prefix: Path) -> Iterator[None]:
    """What goes wrong with the files of `prefix`, in one line."""
    try:
        yield
    except OSError as error:
        if not prefix.parent.is_dir():
            raise NotSavedError(f"{prefix}: cannot be written: the folder of the run is gone") from error
        why = error.strerror or error
        raise NotSavedError(f"{prefix}: cannot be written ({why}); the checkpoint before it is whole") from error


def _clear_stage(prefix: Path) -> None:
    """Make room for new staged files; of older ones that are damaged nothing can be made."""
    try:
        finish(prefix)
    except CheckpointError as error:
        logger.warning("%s; it is replaced", error)
        _discard_unfinished(prefix)


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
    for leftover in _unfinished(prefix):
        leftover.unlink()


def _unfinished(prefix: Path) -> list[Path]:
    """The staged files, and those that were still being written."""
    name = glob.escape(_staged(prefix).name)
    return [*prefix.parent.glob(f"{name}.*"), *prefix.parent.glob(f".{name}.*.tmp")]


def _manifest(path: Path) -> dict[str, dict[str, Any]] | None:
    """What a manifest lists; None where there is none."""
    if not path.exists():
        return None
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return {suffix: {"size": listed[suffix]["size"], "sha256": listed[suffix]["sha256"]} for suffix in CONTENT}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is no manifest") from error
    except OSError as error:
        raise CheckpointError(f"{path}: expected a manifest, received: {error.strerror}") from error


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
