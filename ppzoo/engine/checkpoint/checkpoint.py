"""Checkpoints of a run, with PaddleClas's file names.

A checkpoint is `PREFIX.pdparams`, `PREFIX.pdopt`, `PREFIX.pdstates`, where weights are averaged `PREFIX.pdema`, and
`PREFIX.manifest` (see `staging`). `.pdema` holds the averages; where they are the better ones, in `best_model`, they
are in `.pdparams` and the trained weights in `.pdema`, and `.pdstates` says so.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppzoo.engine.checkpoint import paddleclas, validation
from ppzoo.engine.checkpoint.atomic_files import (
    AVERAGE,
    CONTENT,
    MANIFEST,
    WEIGHTS,
    SavedFiles,
    announce,
    clear_stage,
    copy,
    finish_all,
    link,
    listing,
    listing_if_whole,
    prefixes,
    remove,
    saving,
    staged,
)
from ppzoo.engine.checkpoint.config_diff import describe_differences
from ppzoo.engine.run_dir import unlock
from ppzoo.engine.train_state import VERSIONS, Progress, TrainState
from ppzoo.errors import CheckpointError, WeightsError
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.files import weights_suggestion
from ppzoo.weights import load_weights, read_state, save_pdparams, save_state

logger = logging.getLogger("ppzoo")

LONG = 10.0  # seconds; a kill in an evaluation this long shall not cost the epoch before it


class CheckpointSaver(Callback):
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
        """Complete what an interruption during the saving of the last run's checkpoints left incomplete."""
        finish_all(self.folder)
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
        unlock(self.folder)

    def _save(self) -> None:
        save_checkpoint(self.state, self.folder / "latest")
        self.saved = True

    def _copy_latest(self) -> None:
        """`best_model` and `epoch_N` of an epoch that has ended, and is saved as `latest`."""
        progress, latest, best = self.state.progress, self.folder / "latest", self.folder / "best_model"
        if progress.best_epoch == progress.epoch - 1:
            if not progress.best_is_averaged:
                _copy_unless_there(latest, best)
            elif not _is_averaged_copy(latest, best):
                save_ema_weights(self.state, latest, best)
        if progress.epoch % self.interval == 0:
            _copy_unless_there(latest, self.folder / f"epoch_{progress.epoch}")
            self._drop_old()

    def _drop_old(self) -> None:
        if self.keep is None:
            return
        names = (file.name.removesuffix(MANIFEST) for file in self.folder.glob(f"epoch_*{MANIFEST}"))
        numbers = sorted(int(name.partition("_")[2]) for name in names if re.fullmatch(r"epoch_[0-9]+", name))
        for number in numbers[: -self.keep]:
            prefix = self.folder / f"epoch_{number}"
            with saving(prefix):
                for suffix in (*CONTENT, AVERAGE, MANIFEST):  # in this order what a kill leaves is found again
                    remove(f"{prefix}{suffix}")


def save_checkpoint(state: TrainState, prefix: Path) -> None:
    """Write the checkpoint `prefix` in the place of an older one.

    Raises:
        CheckpointError: the disk is full or the folder gone; on a full disk the older checkpoint stays.
    """
    new = staged(prefix)
    with saving(prefix):
        clear_stage(prefix)
        save_state(state.progress_dict(), f"{new}.pdstates")  # before what would make a folder that is gone anew
        save_state(state.optimizer.state_dict(), f"{new}.pdopt")
        save_pdparams(state.model.state_dict(), f"{new}{WEIGHTS}")
        if state.average is not None:
            save_pdparams(state.average.values, f"{new}{AVERAGE}")
        announce(prefix)


def save_ema_weights(state: TrainState, source: Path, target: Path) -> None:
    """Make the checkpoint `target` of `source`, which `state` was saved as, with the averages in the first place.

    Raises:
        CheckpointError: as `copy` does.
    """
    new = staged(target)
    with saving(target):
        clear_stage(target)
        save_state({**state.progress_dict(), "averaged": True}, f"{new}.pdstates")
        origins = {".pdopt": ".pdopt", WEIGHTS: AVERAGE, AVERAGE: WEIGHTS}
        for suffix, origin in origins.items():
            link(f"{source}{origin}", f"{new}{suffix}")
        listed = listing(source)
        announce(target, {suffix: listed[origin] for suffix, origin in origins.items() if origin in listed})


def load_checkpoint(state: TrainState, prefix: Path) -> None:
    """Bring `state` to where it was when `prefix` was saved, by ppzoo or by PaddleClas.

    Raises:
        CheckpointError: a file is missing or damaged, or belongs to another run.
        WeightsError: the weights do not fit the network.
    """
    prefix = prefix.with_suffix("") if prefix.suffix in CONTENT else prefix
    files = SavedFiles(prefix)
    files.require_complete()
    absent = [suffix for suffix in CONTENT if not files.has(suffix)]
    if absent:
        hint = "; weights alone are loaded by Global.pretrained_model"
        if WEIGHTS in absent:
            hint = weights_suggestion(prefix, to_resume=True)
        raise CheckpointError(
            f"expected the checkpoint {prefix}.pdparams, .pdopt and .pdstates, but {prefix}{absent[0]} does not"
            f" exist{hint}"
        )
    accumulators, saved = read_state(files.path(".pdopt")), read_state(files.path(".pdstates"))
    with validation.wrap_malformed(prefix):
        _restore(state, files, accumulators, saved)


def _restore(state: TrainState, files: SavedFiles, accumulators: dict[str, Any], saved: dict[str, Any]) -> None:
    """`restore` from what the files hold."""
    prefix, has_average = files.prefix, files.has(AVERAGE)
    foreign = paddleclas.is_paddleclas_state(saved)
    try:
        validation.require_progress(saved)
        if not foreign:
            state.require_identity(saved)
        validation.require_accumulators(accumulators, state.model)
        state.require_accumulators(accumulators)
        state.restore_progress(paddleclas.progress_of(saved, prefix) if foreign else saved)
    except CheckpointError as error:
        raise CheckpointError(f"{prefix}: {error}; give the same configuration, or begin anew without it") from error
    _say_differences(state, saved, prefix)
    averaged_first = foreign or saved.get("averaged")
    names = (WEIGHTS, AVERAGE) if has_average and averaged_first else (AVERAGE, WEIGHTS)
    averages, trained = map(files.path, names)
    _restore_weights(state, prefix, averages if files.has(names[0]) else None, trained)
    if foreign:
        state.schedule.adopt(state.progress.epoch, accumulators.get("LR_Scheduler", {}))
        accumulators["LR_Scheduler"] = state.schedule.state_dict()
        if state.average is not None and has_average:
            state.average.updates = state.schedule.last_epoch
    state.optimizer.set_state_dict(accumulators)


def _say_differences(state: TrainState, saved: Mapping[str, Any], prefix: Path) -> None:
    """Log what the run that saved the checkpoint was asked for or ran on otherwise."""
    asked = describe_differences(saved.get("configuration") or state.configuration, state.configuration)
    if asked:
        logger.info("the configuration is not that of %s: %s", prefix, asked)
    ran_on = describe_differences(saved.get("versions") or VERSIONS, VERSIONS)
    if ran_on:
        logger.info("the versions are not those of %s, the last bits may differ: %s", prefix, ran_on)


def _restore_weights(state: TrainState, prefix: Path, averages: str | None, trained: str) -> None:
    """The trained weights from one file, and the averages, if they are wanted, from another if there is one."""
    if state.average is not None and averages is not None:
        load_weights(state.model, averages, head="strict")
        state.average.take(state.model)
    load_weights(state.model, trained, head="strict")
    if state.average is not None and averages is None:
        logger.info("%s has no averaged weights: the average begins with its weights", prefix)
        state.average.take(state.model)


def latest_checkpoint(folder: Path) -> Path | None:
    """Prefix of the checkpoint in `folder` that is furthest; damaged ones are named and passed over."""
    found: list[tuple[tuple[int, int], Path]] = []
    for prefix in prefixes(folder):
        try:
            files = SavedFiles(prefix)
            files.require_complete()
            saved = read_state(files.path(".pdstates"))
            validation.require_progress(saved)
        except (CheckpointError, WeightsError) as error:
            logger.warning("%s; passed over", error)
            continue
        found.append(((saved["epoch"], saved.get("step", 0)), prefix))
    return max(found)[1] if found else None


def _copy_unless_there(source: Path, target: Path) -> None:
    if listing(source) != listing_if_whole(target):
        copy(source, target)


def _is_averaged_copy(source: Path, target: Path) -> bool:
    """Whether `target` is what `save_averaged` makes of `source`."""
    ours, theirs = listing(source), listing_if_whole(target)
    pairs = ((WEIGHTS, AVERAGE), (AVERAGE, WEIGHTS), (".pdopt", ".pdopt"))
    return bool(theirs) and all(theirs.get(to) == ours.get(of) for to, of in pairs)


def _is_saved(progress: Progress, prefix: Path) -> bool:
    """Whether that is what the checkpoint `prefix` has saved, and it is whole."""
    try:
        files = SavedFiles(prefix)
        if not files.listed:
            return False
        files.require_complete()
    except CheckpointError:
        return False
    saved = read_state(files.path(".pdstates"))
    return (saved["epoch"], saved["step"]) == (progress.epoch, progress.step)
