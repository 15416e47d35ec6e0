"""The result of a learning-rate range test as a plot and as a table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppzoo.report.writing import write_report

SHOWN_GROWTH = 1.5  # the plot shows losses up to this multiple of the largest smoothed loss of the first steps
LINES = (("tab:red", "-"), ("tab:orange", ":"), ("tab:gray", "--"))  # color and style of the marks


def range_test_table(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float]) -> str:
    """Return the steps as CSV."""
    rows = zip(rates, losses, smoothed, strict=True)
    lines = [f"{step},{rate!r},{loss!r},{average!r}" for step, (rate, loss, average) in enumerate(rows, 1)]
    return "\n".join(["step,learning_rate,loss,smoothed_loss", *lines, ""])


def draw_range_test(
    path: Path,
    title: str,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
) -> None:
    """Plot the loss over the learning rate.

    Args:
        marks: rates that are drawn as vertical lines, by label, the most important one first.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it logs the building of font caches
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(rates, losses, color="tab:blue", alpha=0.3, linewidth=1, label="loss of each step")
    axes.plot(rates, smoothed, color="tab:blue", linewidth=2, label="smoothed loss")
    for (label, rate), (color, style) in zip(marks.items(), LINES, strict=False):
        axes.axvline(rate, color=color, linestyle=style, label=f"{label}: {rate:.2g}")
    if smoothed:  # limit the axis: a loss that diverges would compress the rest of the curve to a line
        highest, lowest = SHOWN_GROWTH * max(smoothed[: max(len(smoothed) // 10, 1)]), min(losses)
        margin = 0.05 * (highest - lowest)
        axes.set_ylim(lowest - margin, min(highest, max(losses)) + margin)
    axes.set(title=title, xlabel="learning rate", ylabel="loss", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    write_report(path, lambda file: figure.savefig(file, format="png", dpi=110))
