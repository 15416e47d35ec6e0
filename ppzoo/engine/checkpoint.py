"""Checkpoints of a run, with PaddleClas's file names.

A checkpoint is `PREFIX.pdparams`, `PREFIX.pdopt`, `PREFIX.pdstates`, where weights are averaged `PREFIX.pdema`, and
`PREFIX.manifest` (see `staging`). `.pdema` holds the averages; where they are the better ones, in `best_model`, they
are in `.pdparams` and the trained weights in `.pdema`, and `.pdstates` says so.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppzoo.engine import adoption, claims
from ppzoo.engine.difference import differences
from ppzoo.engine.folder import release
from ppzoo.engine.staging import (
    AVERAGE,
    CONTENT,
    MANIFEST,
    WEIGHTS,
    announce,
    clear_stage,
    copy,
    finish_if_free,
    link,
    listing,
    prefixes,
    remove,
    require_whole,
    saving,
    staged,
)
from ppzoo.engine.state import VERSIONS, Progress, TrainState
from ppzoo.errors import CheckpointError, WeightsError
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.weights import load_weights, read_state, save_pdparams, save_state

logger = logging.getLogger("ppzoo")

LONG = 10.0  # seconds; a kill in an evaluation this long shall not cost the epoch before it


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
            with saving(prefix):
                for suffix in (*CONTENT, AVERAGE, MANIFEST):  # in this order what a kill leaves is found again
                    remove(f"{prefix}{suffix}")


def save(state: TrainState, prefix: Path) -> None:
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


def save_averaged(state: TrainState, source: Path, target: Path) -> None:
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


def restore(state: TrainState, prefix: Path) -> None:
    """Bring `state` to where it was when `prefix` was saved, by ppzoo or by PaddleClas.

    Raises:
        CheckpointError: a file is missing or damaged, or belongs to another run.
        WeightsError: the weights do not fit the network.
    """
    prefix = prefix.with_suffix("") if prefix.suffix in CONTENT else prefix
    finish_if_free(prefix)
    require_whole(prefix)
    for suffix in CONTENT:
        if not os.path.isfile(f"{prefix}{suffix}"):
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
        if not foreign:
            state.require_identity(saved)
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
    for prefix in prefixes(folder):
        try:
            finish_if_free(prefix)
        except CheckpointError as error:
            logger.warning("%s; passed over", error)  # the checkpoint that it was to replace may be whole
        if not os.path.exists(f"{prefix}{MANIFEST}"):
            continue
        try:
            require_whole(prefix)
            saved = read_state(f"{prefix}.pdstates")
            claims.require_progress(saved)
        except (CheckpointError, WeightsError) as error:
            logger.warning("%s; passed over", error)
            continue
        found.append(((saved["epoch"], saved.get("step", 0)), prefix))
    return max(found)[1] if found else None


def _is_saved(progress: Progress, prefix: Path) -> bool:
    """Whether that is what the checkpoint `prefix` has saved, and it is whole."""
    try:
        if not listing(prefix):
            return False
        require_whole(prefix)
    except CheckpointError:
        return False
    saved = read_state(f"{prefix}.pdstates")
    return (saved["epoch"], saved["step"]) == (progress.epoch, progress.step)
