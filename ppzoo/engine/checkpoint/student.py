"""The student's weights in a separate file next to each checkpoint of a distillation, as PaddleClas saves them."""

from __future__ import annotations

from pathlib import Path

from ppzoo.engine.checkpoint.atomic_files import NotSavedError
from ppzoo.events import Callback, EpochReport
from ppzoo.weights import read_pdparams, save_pdparams


class StudentWeights(Callback):
    """Extracts `PREFIX_student.pdparams` from each checkpoint that has been saved.

    Args:
        folder: folder of the checkpoints.
        part: prefix of the student's keys.

    Raises:
        NotSavedError: from `on_epoch_end`, if the file cannot be written.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self.folder, self.part = folder, part

    def on_epoch_end(self, report: EpochReport) -> None:
        for prefix in ("latest", *(["best_model"] if report.is_best else [])):
            weights = read_pdparams(self.folder / f"{prefix}.pdparams")
            student = {
                key.removeprefix(self.part): value for key, value in weights.items() if key.startswith(self.part)
            }
            path = self.folder / f"{prefix}_student.pdparams"
            try:
                save_pdparams(student, path)
            except OSError as error:
                raise NotSavedError(f"cannot write {path}: {error.strerror}; {prefix} is complete") from error
