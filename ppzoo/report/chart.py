"""A small chart of a metric over the epochs, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

HEIGHT = 5  # lines
MAX_COLUMNS = 60  # columns of the terminal that all bars together take
MAX_BAR_WIDTH = 4
BLOCKS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
ASCII_BLOCKS = " #"


def draw_chart(title: str, epochs: Sequence[int], values: Sequence[float], *, width: int, utf8: bool) -> list[str]:
    """Return the lines of a bar chart with a scale on its left; if the epochs are too many, several share a bar.

    Such a bar shows the last of their values.

    Args:
        epochs: numbers of the epochs, from 1; `values` are the metric after these epochs.
        width: columns that the terminal has.
        utf8: use block characters, else '#'.
    """
    blocks = BLOCKS if utf8 else ASCII_BLOCKS
    margin = max(len(f"{value:.4f}") for value in (min(values), max(values)))
    columns = max(1, min(MAX_COLUMNS, width - margin - 2))
    count = min(len(values), columns)
    shown = [values[(index + 1) * len(values) // count - 1] for index in range(count)]
    low, high = min(shown), max(shown)
    levels = HEIGHT * (len(blocks) - 1)
    # The lowest value is still visible as the smallest bar.
    bars = [1 + round((value - low) / (high - low or 1) * (levels - 1)) for value in shown]
    bar_width = max(1, min(MAX_BAR_WIDTH, columns // count))
    scale = {HEIGHT - 1: f"{low:.4f}", **({0: f"{high:.4f}"} if high > low else {})}
    lines = [title]
    for row in range(HEIGHT):
        below = (HEIGHT - 1 - row) * (len(blocks) - 1)
        cells = (blocks[max(0, min(len(blocks) - 1, bar - below))] * bar_width for bar in bars)
        lines.append(f"{scale.get(row, ''):>{margin}}  {''.join(cells)}".rstrip())
    first, last = f"epoch {epochs[0]}", str(epochs[-1])
    space = max(1, count * bar_width - len(first) - len(last))
    return [*lines, f"{'':>{margin}}  {first}{' ' * space}{last}"]
