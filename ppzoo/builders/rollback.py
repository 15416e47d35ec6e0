"""Going on where numbers went wrong: from the last checkpoint, with another shuffle and a smaller learning rate.

A rollback is what a restart of the program would be, so that all that restarts promise holds: everything is built
anew and restored, and the number of rollbacks, which decides shuffle and rate, is in the checkpoints from then on.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ppzoo import engine
from ppzoo.builders.components import Section
from ppzoo.builders.regime import DAMPING
from ppzoo.builders.training import build_trainer
from ppzoo.config import Configuration, settings
from ppzoo.errors import NotFiniteError

logger = logging.getLogger("ppzoo")

MOST = 3


def fit_with_rollback(
    config: Section,
    folder: Path,
    trainer: engine.Trainer,
    resume: str | None = None,
    processes: engine.ProcessGroup = engine.SINGLE_PROCESS,
) -> None:
    """Train to the end of the plan.

    Args:
        folder, trainer: what `training` made of the other arguments.

    Raises:
        NotFiniteError: a loss or gradients are not finite, and `Global.on_nan` is "raise", or it happened too often.
    """
    rolls_back = settings(Configuration, config).Global.on_nan == "rollback"
    while True:
        try:
            trainer.fit()
            return
        except NotFiniteError as error:
            rollbacks = trainer.state.progress.rollbacks + 1
            if not rolls_back or rollbacks > MOST:
                raise
            reason = str(error)
        saved = any(isinstance(watcher, engine.CheckpointSaver) and watcher.saved for watcher in trainer.callbacks)
        resume = str(folder / "latest") if processes.broadcast_object(saved) else resume
        del trainer
        folder, trainer = build_trainer(config, resume, processes, rollbacks)
        logger.warning(
            "%s; rolled back to epoch %d, step %d (%d of %d): other shuffle, learning rate times %g",
            *(reason, trainer.state.progress.epoch + 1, trainer.state.progress.step, rollbacks, MOST),
            DAMPING**rollbacks,
        )
