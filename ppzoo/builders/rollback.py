"""Roll back after NaN or infinity: resume from the last checkpoint with another shuffle and a smaller learning rate.

A rollback does the same as a restart of the program: everything is built again and restored. The number of rollbacks,
which determines shuffle and rate, is stored in the checkpoints.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ppzoo import engine
from ppzoo.builders.resuming import ROLLBACK_FACTOR
from ppzoo.builders.training import build_trainer
from ppzoo.config import Config
from ppzoo.errors import NotFiniteError
from ppzoo.events import Callback

logger = logging.getLogger("ppzoo")

MAX_ROLLBACKS = 3


def fit_with_rollback(
    config: Config,
    folder: Path,
    trainer: engine.Trainer,
    resume: str | None = None,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
    observers: Sequence[Callback] = (),
) -> None:
    """Train until the plan is complete, rolling back if `Global.on_nan` is "rollback".

    Args:
        folder, trainer: the result of `build_trainer` for the other arguments.
        observers: callbacks that are called after the run's own.

    Raises:
        NotFiniteError: a loss or gradients are not finite, and `Global.on_nan` is "raise" or the maximum number of
            rollbacks is reached.
    """
    rolls_back = config.Global.on_nan == "rollback"
    while True:
        trainer.callbacks += observers
        try:
            trainer.fit()
            return
        except NotFiniteError as error:
            rollbacks = trainer.state.progress.rollbacks + 1
            if not rolls_back or rollbacks > MAX_ROLLBACKS:
                raise
            reason = str(error)
        saved = any(isinstance(callback, engine.CheckpointSaver) and callback.saved for callback in trainer.callbacks)
        resume = str(folder / "latest") if processes.broadcast_object(saved) else resume
        del trainer
        folder, trainer = build_trainer(config, resume, processes, rollbacks)
        logger.warning(
            "%s; rolled back to epoch %d, step %d (%d of %d): new shuffle, learning rate x %g",
            *(reason, trainer.state.progress.epoch + 1, trainer.state.progress.step, rollbacks, MAX_ROLLBACKS),
            ROLLBACK_FACTOR**rollbacks,
        )
