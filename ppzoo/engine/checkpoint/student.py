"""The student's weights alone, beside each checkpoint of a distillation: `PREFIX_student.pdparams`, as PaddleClas's."""

from __future__ import annotations

from pathlib import Path

from ppzoo.engine.checkpoint.atomic_files import NotSavedError
from ppzoo.events import Callback, EpochReport
from ppzoo.weights import read_pdparams, save_pdparams


class StudentWeights(Callback):
    """Writes them after the checkpoints have been written, out of which they are read.

    Args:
        folder: where the checkpoints are.
        part: what the names of the student's entries begin with.

    Raises:
        NotSavedError: from `on_epoch_end`, when they cannot be written.
    """

    def __init__(self, folder: Path, part: str) -> None:
        self.folder, self.part = folder, part

    def on_epoch_end(self, report: EpochReport) -> None:
        for prefix in ("latest", *(["best_model"] if report.is_best else [])):
            whole = read_pdparams(self.folder / f"{prefix}.pdparams")
            own = {key.removeprefix(self.part): value for key, value in whole.items() if key.startswith(self.part)}
            try:
                save_pdparams(own, self.folder / f"{prefix}_student.pdparams")
            except OSError as error:
                where = self.folder / f"{prefix}_student.pdparams"
                raise NotSavedError(f"{where}: cannot be written ({error.strerror}); {prefix} is whole") from error
