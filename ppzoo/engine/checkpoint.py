"""Checkpoints that are whole or not there, with PaddleClas's file names.

A checkpoint is `PREFIX.pdparams`, `PREFIX.pdopt`, `PREFIX.pdstates`, where weights are averaged `PREFIX.pdema`, and
`PREFIX.manifest`, which lists the others with sizes and SHA-256. `.pdema` holds the averages; where they are the better
ones, in `best_model`, they are in `.pdparams` and the trained weights in `.pdema`, and `.pdstates` says so.

The files are first written as `PREFIX.new.*`, the manifest last: from then on the new checkpoint counts, and moving the
files to their names can be finished by whoever finds them. Before that moment the old one does. Whoever finds them in
the folder of a run that is alive leaves them alone.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ppzoo.engine import adoption, claims
from ppzoo.engine.difference import differences
from ppzoo.engine.folder import claim, release
from ppzoo.engine.state import VERSIONS, Progress, TrainState
from ppzoo.errors import CheckpointError, WeightsError
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.files import sync_folder, write_atomically
from ppzoo.weights import load_weights, read_state, save_pdparams, save_state

logger = logging.getLogger("ppzoo")

WEIGHTS, AVERAGE = ".pdparams", ".pdema"
CONTENT = (WEIGHTS, ".pdopt", ".pdstates")
MANIFEST = ".manifest"
LONG = 10.0  # seconds; a kill in an evaluation this long shall not cost the epoch before it


class NotSavedError(CheckpointError):
    """A checkpoint that could not be written: the run failed, through no fault of its description."""

    exit_status = 1


class Checkpoints(Callback):
    """Saves the state of a run: `latest` after each epoch, `best_model` after one that was the best, `epoch_N`.

    `latest` is also saved before an evaluation that may be long; who goes on from there begins with the evaluation.

    Args:
        folder: the files go there.
        interval: epochs between two `epoch_N`.
        keep: how many `epoch_N` stay; None for all.
        interval_steps: steps between two `latest` within an epoch; None for none.

    Attributes:
        saved: whether this run has saved a `latest` yet.
    """

    def __init__(
        self, state: TrainState, folder: Path, interval: int, keep: int | None = None, interval_steps: int | None = None
    ) -> None:
        self.state, self.folder = state, folder
        self.interval, self.keep, self.interval_steps = interval, keep, interval_steps
        self.saved = False
        self.eval_seconds = math.inf  # of the last evaluation

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """Make what a kill after the saving of `latest` has left out."""
        progress = self.state.progress
        if progress.epoch and not progress.step and _is_saved(progress, self.folder / "latest"):
            self._copy_latest()

    def on_step_end(self, report: StepReport) -> None:
        if self.interval_steps and report.done % self.interval_steps == 0:
            self._save()

    def on_evaluation_begin(self, epoch: int) -> None:
        if self.eval_seconds > LONG:
            self._save()

    def on_epoch_end(self, report: EpochReport) -> None:
        self.eval_seconds = report.eval_seconds
        self._save()
        self._copy_latest()

    def on_interrupt(self) -> None:
        self._save()

    def close(self) -> None:
        """The run is over: others may write into its folder."""
        release(self.folder)

    def _save(self) -> None:
        save(self.state, self.folder / "latest")
        self.saved = True

    def _copy_latest(self) -> None:
        """`best_model` and `epoch_N` of an epoch that has ended, and is saved as `latest`."""
        progress, latest = self.state.progress, self.folder / "latest"
        if progress.best_epoch == progress.epoch - 1:
            if progress.best_is_averaged:
                save_averaged(self.state, latest, self.folder / "best_model")
            else:
                copy(latest, self.folder / "best_model")
        if progress.epoch % self.interval == 0:
            copy(latest, self.folder / f"epoch_{progress.epoch}")
            self._drop_old()

    def _drop_old(self) -> None:
        if self.keep is None:
            return
        names = (file.name.removesuffix(MANIFEST) for file in self.folder.glob(f"epoch_*{MANIFEST}"))
        numbers = sorted(int(name.partition("_")[2]) for name in names if re.fullmatch(r"epoch_[0-9]+", name))
        for number in numbers[: -self.keep]:
            prefix = self.folder / f"epoch_{number}"
            with _saving(prefix):
                for suffix in (*CONTENT, AVERAGE, MANIFEST):  # in this order what a kill leaves is found again
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
        save_pdparams(state.model.state_dict(), f"{staged}{WEIGHTS}")
        if state.average is not None:
            save_pdparams(state.average.values, f"{staged}{AVERAGE}")
        _announce(prefix)


def copy(source: Path, target: Path) -> None:
    """Make the checkpoint `target` of `source`, without a second copy on disk where the file system can.

    Raises:
        CheckpointError: the disk is full or the folder gone; on a full disk the older checkpoint stays.
    """
    with _saving(target):
        _clear_stage(target)
        for suffix in _present(source):
            _link(f"{source}{suffix}", f"{_staged(target)}{suffix}")
        _announce(target)


def save_averaged(state: TrainState, source: Path, target: Path) -> None:
    """Make the checkpoint `target` of `source`, which `state` was saved as, with the averages in the first place.

    Raises:
        CheckpointError: as `copy` does.
    """
    staged = _staged(target)
    with _saving(target):
        _clear_stage(target)
        save_state({**state.progress_dict(), "averaged": True}, f"{staged}.pdstates")
        for suffix, origin in ((".pdopt", ".pdopt"), (WEIGHTS, AVERAGE), (AVERAGE, WEIGHTS)):
            _link(f"{source}{origin}", f"{staged}{suffix}")
        _announce(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as original:
            write_atomically(target, partial(shutil.copyfileobj, original))


def _present(prefix: Path) -> list[str]:
    """The suffixes of the files of a checkpoint that is there."""
    return [*CONTENT, AVERAGE] if Path(f"{prefix}{AVERAGE}").exists() else list(CONTENT)


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
    accumulators, saved = read_state(f"{prefix}.pdopt"), read_state(f"{prefix}.pdstates")
    with claims.believed(prefix):
        _restore(state, prefix, accumulators, saved)


def _restore(state: TrainState, prefix: Path, accumulators: dict[str, Any], saved: dict[str, Any]) -> None:
    """`restore` from what the files hold."""
    foreign = adoption.is_foreign(saved)
    try:
        claims.require_progress(saved)
        claims.require_accumulators(accumulators, state.model)
        state.require_accumulators(accumulators)
        state.restore_progress(adoption.progress_of(saved, prefix) if foreign else saved)
    except CheckpointError as error:
        raise CheckpointError(f"{prefix}: {error}; give the same configuration, or begin anew without it") from error
    _say_differences(state, saved, prefix)
    averaged_first = foreign or saved.get("averaged")
    _restore_weights(state, adoption.trained_weights(prefix) if averaged_first else Path(f"{prefix}{WEIGHTS}"))
    if foreign:
        state.schedule.adopt(state.progress.epoch, accumulators.get("LR_Scheduler", {}))
        accumulators["LR_Scheduler"] = state.schedule.state_dict()
        if state.average is not None and Path(f"{prefix}{AVERAGE}").is_file():
            state.average.updates = state.schedule.last_epoch
    state.optimizer.set_state_dict(accumulators)


def _say_differences(state: TrainState, saved: Mapping[str, Any], prefix: Path) -> None:
    """Log what the run that saved the checkpoint was asked for or ran on otherwise."""
    asked = differences(saved.get("configuration") or state.configuration, state.configuration)
    if asked:
        logger.info("the configuration is not that of %s: %s", prefix, asked)
    ran_on = differences(saved.get("versions") or VERSIONS, VERSIONS)
    if ran_on:
        logger.info("the versions are not those of %s, the last bits may differ: %s", prefix, ran_on)


def _restore_weights(state: TrainState, trained: Path) -> None:
    """The trained weights from that file, and the averages, if they are wanted, from the one beside it."""
    averages = trained.with_suffix(AVERAGE if trained.suffix == WEIGHTS else WEIGHTS)
    if state.average is not None and averages.is_file():
        load_weights(state.model, averages, head="strict")
        state.average.take(state.model)
    load_weights(state.model, trained, head="strict")
    if state.average is not None and not averages.is_file():
        logger.info("%s has no averaged weights: the average begins with its weights", trained.with_suffix(""))
        state.average.take(state.model)


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
            saved = read_state(f"{prefix}.pdstates")
            claims.require_progress(saved)
        except (CheckpointError, WeightsError) as error:
            logger.warning("%s; passed over", error)
            continue
        found.append(((saved["epoch"], saved.get("step", 0)), prefix))
    return max(found)[1] if found else None


def _is_saved(progress: Progress, prefix: Path) -> bool:
    """Whether that is what the checkpoint `prefix` has saved."""
    if not Path(f"{prefix}{MANIFEST}").exists():
        return False
    saved = read_state(f"{prefix}.pdstates")
    return (saved["epoch"], saved["step"]) == (progress.epoch, progress.step)


def finish(prefix: Path) -> None:
    """Finish or undo the saving of `prefix` if it was cut off.

    Raises:
        CheckpointError: what was to be finished is damaged; it stays as it is.
    """
    listed = _manifest(Path(f"{_staged(prefix)}{MANIFEST}"))
    if listed is None:
        _discard_unfinished(prefix)
    else:
        _move_in_place(prefix, listed)


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
    for suffix in _present(staged):
        path = f"{staged}{suffix}"
        listed[suffix] = {"size": os.path.getsize(path), "sha256": _sha256(path)}
    text = json.dumps(listed, indent=1).encode()
    write_atomically(f"{staged}{MANIFEST}", lambda file: file.write(text))
    _move_in_place(prefix, listed)


def _move_in_place(prefix: Path, listed: Collection[str]) -> None:
    if AVERAGE not in listed:
        Path(f"{prefix}{AVERAGE}").unlink(missing_ok=True)  # of an older checkpoint of that name
    for suffix in (*listed, MANIFEST):
        if os.path.exists(f"{_staged(prefix)}{suffix}"):
            os.replace(f"{_staged(prefix)}{suffix}", f"{prefix}{suffix}")
            Path(f"{_staged(prefix)}{suffix}").unlink(missing_ok=True)  # two links to one file are not replaced
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
        suffixes = [*CONTENT, AVERAGE] if AVERAGE in listed else CONTENT
        return {suffix: {"size": listed[suffix]["size"], "sha256": listed[suffix]["sha256"]} for suffix in suffixes}
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
