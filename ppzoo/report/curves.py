"""The curves of a training as a picture, `curves.png`, and as lines of JSON, `history.jsonl`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ppzoo.errors import PpzooError
from ppzoo.events import Callback, EpochReport, Summary
from ppzoo.report.writing import write_report

PANELS = 6  # more would be a strip that nobody reads


class Curves(Callback):
    """Keeps one line an epoch in `history.jsonl` and draws all of them at the end; nothing if no epoch was trained.

    Args:
        folder: holds both files; a resumed run goes on with the history that it finds there.
        title: written above the picture.
    """

    PICTURE = "curves.png"

    def __init__(self, folder: Path, title: str) -> None:
        self.history = folder / "history.jsonl"
        self.picture = folder / self.PICTURE
        self.title = title
        self.entries: list[dict[str, Any]] = []

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """Drop what an interrupted run wrote of epochs that are now trained again.

        Raises:
            PpzooError: the history that is there is damaged.
        """
        try:
            lines = self.history.read_text(encoding="utf-8").splitlines() if self.history.exists() else []
            self.entries = [entry for entry in map(json.loads, lines) if entry["epoch"] <= epoch]
        except (ValueError, KeyError, TypeError) as error:
            raise PpzooError(f"{self.history}: expected one line of JSON an epoch; remove the damaged file") from error

    def on_epoch_end(self, report: EpochReport) -> None:
        entry = {
            "epoch": report.epoch + 1,
            "train": dict(report.train),
            "eval": report.evaluation and dict(report.evaluation),
            "lr": report.learning_rate,
            "images_per_second": report.images_per_second,
            "train_seconds": report.train_seconds,
            "eval_seconds": report.eval_seconds,
        }
        self.entries.append(entry)
        text = "".join(json.dumps(line) + "\n" for line in self.entries)
        write_report(self.history, lambda file: file.write(text.encode()))

    def on_train_end(self, summary: Summary) -> None:
        if self.entries:
            draw(self.entries, self.title, self.picture)


def draw(entries: list[dict[str, Any]], title: str, path: Path) -> None:
    """One panel a figure (loss, top1, ...), the first six: training and evaluation over the epochs.

    Figures of single classes are left to `history.jsonl`.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of every font cache that it builds
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    last = entries[-1]
    shared = [name for name in last["train"] if name in (last["eval"] or last["train"])]
    names = [name for name in shared if "_class" not in name][:PANELS]
    figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for part, figure_name, label in (
            ("train", name, "train"),
            ("eval", name, "eval"),
            ("eval", f"{name}_ema", "eval, averaged weights"),
        ):
            found = [entry for entry in entries if figure_name in (entry[part] or {})]
            if found:
                points = [(entry["epoch"], entry[part][figure_name]) for entry in found]
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    write_report(path, lambda file: figure.savefig(file, format="png", dpi=110))
