"""Checkpoints of a run, with PaddleClas's file names.

A checkpoint consists of `PREFIX.pdparams`, `PREFIX.pdopt`, `PREFIX.pdstates`, `PREFIX.manifest` (see `atomic_files`)
and, in a run with EMA, `PREFIX.pdema`. `.pdparams` holds the trained weights and `.pdema` their averages. In a
`best_model` whose averages are better than the trained weights, these two files are exchanged, and `.pdstates` has the
entry "averaged".
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
    EMA_WEIGHTS,
    MANIFEST,
    REQUIRED_SUFFIXES,
    SavedFiles,
    commit,
    copy_checkpoint,
    link_or_copy,
    list_prefixes,
    prepare_staging,
    read_manifest,
    read_manifest_if_complete,
    recover_all,
    remove_if_exists,
    report_write_errors,
    staged_prefix,
)
from ppzoo.engine.checkpoint.config_diff import describe_differences
from ppzoo.engine.run_dir import unlock
from ppzoo.engine.train_state import VERSIONS, Progress, TrainState
from ppzoo.errors import CheckpointError, WeightsError
from ppzoo.events import Callback, EpochReport, StepReport
from ppzoo.files import WEIGHTS, describe_absence, weights_suggestion
from ppzoo.weights import load_weights, read_state, save_pdparams, save_state

logger = logging.getLogger("ppzoo")

LONG_EVALUATION = 10.0  # seconds; `latest` is saved before an evaluation unless the previous one was shorter


class CheckpointSaver(Callback):
    """Saves `latest` after each epoch, `best_model` after each that is the best so far, and `epoch_N` at intervals.

    `latest` is also saved before an evaluation that can be long; a run that resumes from it starts with the evaluation.

    Args:
        folder: folder of the files.
        interval: epochs between two `epoch_N`.
        keep: number of `epoch_N` to keep; None for all.
        interval_steps: steps between two saves of `latest` within an epoch; None for none.

    Attributes:
        saved: whether this run has saved `latest`.
    """

    def __init__(
        self, state: TrainState, folder: Path, interval: int, keep: int | None = None, interval_steps: int | None = None
    ) -> None:
        self.state, self.folder = state, folder
        self.interval, self.keep, self.interval_steps = interval, keep, interval_steps
        self.saved = False
        self.eval_seconds = math.inf  # of the last evaluation

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """Recover from an interrupted save of the previous run."""
        recover_all(self.folder)
        progress = self.state.progress
        if progress.epoch and not progress.step and _is_saved(progress, self.folder / "latest"):
            self._copy_latest()

    def on_step_end(self, report: StepReport) -> None:
        if self.interval_steps and report.done % self.interval_steps == 0:
            self._save()

    def on_evaluation_begin(self, epoch: int) -> None:
        if self.eval_seconds > LONG_EVALUATION:
            self._save()

    def on_epoch_end(self, report: EpochReport) -> None:
        if report.evaluation is not None:
            self.eval_seconds = report.eval_seconds
        self._save()
        self._copy_latest()

    def on_interrupt(self) -> None:
        self._save()

    def close(self) -> None:
        """Unlock the folder for other runs."""
        unlock(self.folder)

    def _save(self) -> None:
        save_checkpoint(self.state, self.folder / "latest")
        self.saved = True

    def _copy_latest(self) -> None:
        """Copy `latest` of a finished epoch to `best_model` and `epoch_N`, if they are due."""
        progress, latest, best = self.state.progress, self.folder / "latest", self.folder / "best_model"
        if progress.best_epoch == progress.epoch - 1:
            if not progress.best_is_averaged:
                _copy_unless_equal(latest, best)
            elif not _is_ema_copy(latest, best):
                save_ema_weights(self.state, latest, best)
        if progress.epoch % self.interval == 0:
            _copy_unless_equal(latest, self.folder / f"epoch_{progress.epoch}")
            self._remove_old()

    def _remove_old(self) -> None:
        if self.keep is None:
            return
        names = (file.name.removesuffix(MANIFEST) for file in self.folder.glob(f"epoch_*{MANIFEST}"))
        numbers = sorted(int(name.partition("_")[2]) for name in names if re.fullmatch(r"epoch_[0-9]+", name))
        for number in numbers[: -self.keep]:
            prefix = self.folder / f"epoch_{number}"
            with report_write_errors(prefix):
                for suffix in (*REQUIRED_SUFFIXES, EMA_WEIGHTS):
                    remove_if_exists(f"{prefix}{suffix}")
                remove_if_exists(f"{prefix}{MANIFEST}")  # last: checkpoints are found by it


def save_checkpoint(state: TrainState, prefix: Path) -> None:
    """Save the checkpoint `prefix`, atomically replacing an older one.

    Raises:
        CheckpointError: the disk is full or the folder does not exist; an older checkpoint stays complete.
    """
    staged = staged_prefix(prefix)
    with report_write_errors(prefix):
        prepare_staging(prefix)
        save_state(state.state_dict(), f"{staged}.pdstates")  # first: `save_pdparams` would create a missing folder
        save_state(state.optimizer.state_dict(), f"{staged}.pdopt")
        save_pdparams(state.model.state_dict(), f"{staged}{WEIGHTS}")
        if state.ema is not None:
            save_pdparams(state.ema.values, f"{staged}{EMA_WEIGHTS}")
        commit(prefix)


def save_ema_weights(state: TrainState, source: Path, target: Path) -> None:
    """Copy the checkpoint `source` of `state` to `target`, with averaged and trained weights exchanged.

    Raises:
        CheckpointError: as for `copy_checkpoint`.
    """
    staged = staged_prefix(target)
    with report_write_errors(target):
        prepare_staging(target)
        save_state({**state.state_dict(), "averaged": True}, f"{staged}.pdstates")
        origins = {".pdopt": ".pdopt", WEIGHTS: EMA_WEIGHTS, EMA_WEIGHTS: WEIGHTS}
        for suffix, origin in origins.items():
            link_or_copy(f"{source}{origin}", f"{staged}{suffix}")
        entries = read_manifest(source)
        commit(target, {suffix: entries[origin] for suffix, origin in origins.items() if origin in entries})


def load_checkpoint(state: TrainState, prefix: Path) -> None:
    """Restore `state` from the checkpoint `prefix` of ppzoo or PaddleClas.

    Raises:
        CheckpointError: a file is missing or damaged, or belongs to another run.
        WeightsError: a file cannot be read, or the weights do not fit the network.
    """
    files = _open_files(prefix)
    accumulators, saved = read_state(files.path(".pdopt")), read_state(files.path(".pdstates"))
    with validation.wrap_malformed(files.prefix):
        _restore(state, files, accumulators, saved)


def require_checkpoint(prefix: Path) -> None:
    """Check that the files of the checkpoint `prefix` exist and have the right sizes, without reading them.

    Raises:
        CheckpointError: a file is missing, or has another size.
    """
    _open_files(prefix, verify_content=False)


def _open_files(prefix: Path, *, verify_content: bool = True) -> SavedFiles:
    """Return the files of the checkpoint `prefix`, which can end in `.pdparams`, `.pdopt` or `.pdstates`.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    prefix = prefix.with_suffix("") if prefix.suffix in REQUIRED_SUFFIXES else prefix
    files = SavedFiles(prefix)
    try:
        files.require_complete(verify_content=verify_content)
    except CheckpointError as error:
        error.rewrite("{}; use another checkpoint, or --resume auto for the newest complete one of the run".format)
        raise
    missing = [suffix for suffix in REQUIRED_SUFFIXES if not files.has(suffix)]
    if missing:
        hint = "; to load only weights, use Global.pretrained_model"
        if WEIGHTS in missing:
            hint = (
                weights_suggestion(prefix, to_resume=True)
                or "; use --resume auto for the newest one of the run, if any"
            )
        raise CheckpointError(
            f"expected a checkpoint ({prefix}.pdparams, .pdopt and .pdstates), but {prefix}{missing[0]}"
            f" {describe_absence(f'{prefix}{missing[0]}')}{hint}"
        )
    return files


def _restore(state: TrainState, files: SavedFiles, accumulators: dict[str, Any], saved: dict[str, Any]) -> None:
    """Restore `state` from the content of `.pdopt` and `.pdstates` and the files of weights."""
    prefix, has_averages = files.prefix, files.has(EMA_WEIGHTS)
    is_paddleclas = paddleclas.is_paddleclas_state(saved)
    try:
        validation.require_progress(saved)
        if not is_paddleclas:
            validation.require_identity(saved, state.identity)
        validation.require_accumulators(accumulators, state.model)
        state.load_state_dict(paddleclas.convert_progress(saved, prefix) if is_paddleclas else saved)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} in {prefix}; use the original configuration, or start a new run without this checkpoint"
        ) from error
    _log_differences(state, saved, prefix)
    is_exchanged = has_averages and (is_paddleclas or saved.get("averaged"))
    suffixes = (WEIGHTS, EMA_WEIGHTS) if is_exchanged else (EMA_WEIGHTS, WEIGHTS)
    averages, trained = map(files.path, suffixes)
    _restore_weights(state, prefix, averages if files.has(suffixes[0]) else None, trained)
    if is_paddleclas:
        state.scheduler.resume_from_paddleclas(state.progress.epoch, accumulators.get("LR_Scheduler", {}))
        accumulators["LR_Scheduler"] = state.scheduler.state_dict()
        if state.ema is not None and has_averages:
            state.ema.updates = state.scheduler.last_epoch
    state.optimizer.set_state_dict(accumulators)
    state.discard_other_metric()


def _log_differences(state: TrainState, saved: Mapping[str, Any], prefix: Path) -> None:
    """Log where configuration and versions differ from those of the run that saved the checkpoint."""
    configuration = describe_differences(saved.get("configuration") or state.configuration, state.configuration)
    if configuration:
        logger.info("the configuration differs from that of %s: %s", prefix, configuration)
    versions = describe_differences(saved.get("versions") or VERSIONS, VERSIONS)
    if versions:
        logger.info("the versions differ from those of %s, results can differ slightly: %s", prefix, versions)


def _restore_weights(state: TrainState, prefix: Path, averages: str | None, trained: str) -> None:
    """Load the file `trained` and, for a run with EMA, `averages`; None: the trained weights are the averages."""
    if state.ema is not None and averages is not None:
        load_weights(state.model, averages, head="strict")
        state.ema.copy_from(state.model)
    load_weights(state.model, trained, head="strict")
    if state.ema is not None and averages is None:
        logger.info("%s has no averaged weights: initializing the average with its weights", prefix)
        state.ema.copy_from(state.model)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the prefix of the checkpoint in `folder` with the most steps; damaged ones are logged and skipped."""
    found: list[tuple[tuple[int, int], Path]] = []
    for prefix in list_prefixes(folder):
        try:
            files = SavedFiles(prefix)
            files.require_complete()
            saved = read_state(files.path(".pdstates"))
            validation.require_progress(saved)
        except (CheckpointError, WeightsError) as error:
            logger.warning("%s; skipped", error)
            continue
        found.append(((saved["epoch"], saved.get("step", 0)), prefix))
    return max(found)[1] if found else None


def _copy_unless_equal(source: Path, target: Path) -> None:
    if read_manifest(source) != read_manifest_if_complete(target):
        copy_checkpoint(source, target)


def _is_ema_copy(source: Path, target: Path) -> bool:
    """Return whether `target` is the result of `save_ema_weights` for `source`."""
    original, copied = read_manifest(source), read_manifest_if_complete(target)
    pairs = ((WEIGHTS, EMA_WEIGHTS), (EMA_WEIGHTS, WEIGHTS), (".pdopt", ".pdopt"))
    return bool(copied) and all(copied.get(to) == original.get(of) for to, of in pairs)


def _is_saved(progress: Progress, prefix: Path) -> bool:
    """Return whether the checkpoint `prefix` is complete and has this progress."""
    try:
        files = SavedFiles(prefix)
        if not files.entries:
            return False
        files.require_complete()
    except CheckpointError:
        return False
    saved = read_state(files.path(".pdstates"))
    return (saved["epoch"], saved["step"]) == (progress.epoch, progress.step)
