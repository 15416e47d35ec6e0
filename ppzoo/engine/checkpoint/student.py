"""The student's weights of a distillation in separate files next to the checkpoints `latest` and `best_model`."""

from __future__ import annotations

from pathlib import Path

from ppzoo.engine.checkpoint.atomic_files import NotSavedError
from ppzoo.events import Callback, EpochReport
from ppzoo.files import WEIGHTS
from ppzoo.weights import read_pdparams, save_pdparams


class StudentWeights(Callback):
    """Write `latest_student.pdparams` after each epoch, and `best_model_student.pdparams` after each best one so far.

    Args:
        folder: folder of the checkpoints.
        part: prefix of the student's keys.

    Raises:
        NotSavedError: from `on_train_begin` and `on_epoch_end`, if the file cannot be written.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self.folder, self.part = folder, part

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """Write the files for existing checkpoints: a run can be stopped between saving one and writing its file."""
        for prefix in ("latest", "best_model"):
            if (self.folder / f"{prefix}{WEIGHTS}").exists():
                self._extract(prefix)

    def on_epoch_end(self, report: EpochReport) -> None:
        self._extract("latest")
        if report.is_best:
            self._extract("best_model")

    def _extract(self, prefix: str) -> None:
        weights = read_pdparams(self.folder / f"{prefix}{WEIGHTS}")
        student = {key.removeprefix(self.part): value for key, value in weights.items() if key.startswith(self.part)}
        path = self.folder / f"{prefix}_student{WEIGHTS}"
        try:
            save_pdparams(student, path)
        except OSError as error:
            raise NotSavedError(
                f"cannot write {path}: {error.strerror}; the checkpoint {prefix} is complete"
            ) from error
