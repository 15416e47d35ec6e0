"""The metrics of a run over its epochs: plotted in `curves.png`, and as JSON lines in `history.jsonl`."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from ppzoo.errors import PpzooError
from ppzoo.events import EMA_SUFFIX, Callback, EpochReport, Summary
from ppzoo.files import RUN_HISTORY, read_plain_file
from ppzoo.report.writing import write_report

MAX_PANELS = 6


class Curves(Callback):
    """Writes one line per epoch to `history.jsonl`, and plots all epochs at the end of the run.

    Args:
        folder: folder of both files; a resumed run continues the existing history.
        title: title of the plot.
    """

    PICTURE = "curves.png"

    def __init__(self, folder: Path, title: str) -> None:
        self.history = folder / RUN_HISTORY
        self.picture = folder / self.PICTURE
        self.title = title
        self.entries: list[dict[str, Any]] = []

    def on_train_begin(self, epoch: int, epochs: int) -> None:
        """Remove the entries of epochs that are trained again after an interruption.

        Raises:
            PpzooError: the existing history is damaged.
            OSError: it cannot be read.
        """
        self.entries = self.read(epoch)

    def read(self, epochs: int) -> list[dict[str, Any]]:
        """Return the entries of the first `epochs` epochs; the file is not read if `epochs` is 0.

        Raises:
            PpzooError: the file is damaged.
            OSError: it cannot be read.
        """
        try:
            entries = read_history(self.history) if epochs and os.path.lexists(self.history) else []
        except ValueError as error:
            raise PpzooError(f"{self.history}: expected one line of JSON per epoch; remove the damaged file") from error
        return [entry for entry in entries if entry["epoch"] <= epochs]

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


def read_history(file: Path) -> list[dict[str, Any]]:
    """Return the entries of a `history.jsonl`, which can be from an untrusted source.

    Raises:
        OSError: it cannot be read, or is a pipe or a device.
        ValueError: it is damaged.
    """
    try:
        entries = [json.loads(line) for line in read_plain_file(file).decode().splitlines()]
    except RecursionError as error:
        raise ValueError("too many levels") from error
    if not all(map(_is_epoch, entries)):
        raise ValueError("an entry that is not an epoch")
    return entries


def _is_epoch(entry: Any) -> bool:
    """Return whether a value has the form of an entry of `history.jsonl`: an epoch with metrics that are numbers."""
    if not isinstance(entry, dict) or not isinstance(entry.get("epoch"), int) or "eval" not in entry:
        return False
    parts = [entry.get("train"), entry["eval"] or {}]
    return all(
        isinstance(metrics, dict) and all(isinstance(value, int | float | None) for value in metrics.values())
        for metrics in parts
    )


def draw(entries: list[dict[str, Any]], title: str, path: Path) -> None:
    """Plot training and evaluation values over the epochs, with one panel per metric and at most `MAX_PANELS` panels.

    The metrics are those that training and the last evaluation have in common; metrics of single classes are skipped.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it logs the building of font caches
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    last = entries[-1]
    shared = [name for name in last["train"] if name in (last["eval"] or last["train"])]
    names = [name for name in shared if "_class" not in name][:MAX_PANELS]
    figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for part, key, label in (
            ("train", name, "train"),
            ("eval", name, "eval"),
            ("eval", f"{name}{EMA_SUFFIX}", "eval, averaged weights"),
        ):
            found = [entry for entry in entries if key in (entry[part] or {})]
            if found:
                points = [(entry["epoch"], entry[part][key]) for entry in found]
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    write_report(path, lambda file: figure.savefig(file, format="png", dpi=110))
