"""The curves of a training as a picture, `curves.png`, and as lines of JSON, `history.jsonl`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ppzoo.events import Callback, EpochReport, Summary


class Curves(Callback):
    """Appends one line an epoch to `history.jsonl` and draws all of them at the end.

    Args:
        folder: holds both files; a resumed run goes on with the history that it finds there.
        title: written above the picture.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.history = folder / "history.jsonl"
        self.picture = folder / "curves.png"
        self.title = title

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """Drop what an interrupted run wrote of epochs that are now trained again."""
        if self.history.exists():
            kept = [entry for entry in self._entries() if entry["epoch"] <= epoch]
            self.history.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")

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
        with self.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def on_train_end(self, summary: Summary) -> None:
        draw(self._entries(), self.title, self.picture)

    def _entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.history.read_text(encoding="utf-8").splitlines()]


def draw(entries: list[dict[str, Any]], title: str, path: Path) -> None:
    """One panel a figure (loss, top1, ...): training and evaluation over the epochs."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of every font cache that it builds
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in entries[-1]["train"] if name in (entries[-1]["eval"] or entries[-1]["train"])]
    figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for part in ("train", "eval"):
            points = [(entry["epoch"], entry[part][name]) for entry in entries if name in (entry[part] or {})]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=part)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
