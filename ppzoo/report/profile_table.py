"""The profile of a training as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SHOWN_LAYERS = 15


class LayerRow(NamedTuple):
    """A layer: its name, its class, and the milliseconds per step of its forward and backward pass."""

    name: str
    kind: str
    forward: float
    backward: float

    @property
    def total(self) -> float:
        return self.forward + self.backward


def parts_table(parts: dict[str, float], unattributed: float, total: float) -> str:
    """Return the parts of a step, in milliseconds, sorted by their share."""
    rows = [(name, f"{value:.2f}", _share(value, total)) for name, value in _sorted(parts)]
    rows += [("not attributed", f"{unattributed:.2f}", _share(unattributed, total))]
    return _format(("part of a step", "ms", "share"), [*rows, ("total", f"{total:.2f}", _share(total, total))])


def layers_table(layers: Sequence[LayerRow], outside: float, loss_backward: float) -> str:
    """Return a table of the slowest layers, and a table of the layers grouped by the first part of their names.

    The first table also has the sum of the other layers, the loss and the time outside of layers. There is no second
    table if all layers are in one group, or each layer is a group.

    Args:
        outside: milliseconds per step of both passes that belong neither to a layer nor to the loss.
        loss_backward: milliseconds per step of the backward pass of the loss.
    """
    total = sum(layer.total for layer in layers) + outside + loss_backward
    ordered = sorted(layers, key=lambda layer: -layer.total)
    rows = [_row(layer, total) for layer in ordered[:SHOWN_LAYERS]]
    if rest := ordered[SHOWN_LAYERS:]:
        forward, backward = sum(layer.forward for layer in rest), sum(layer.backward for layer in rest)
        rows.append(_row(LayerRow(f"{len(rest)} more", "", forward, backward), total))
    rows.append(_row(LayerRow("loss", "", 0.0, loss_backward), total))
    rows.append(("outside of layers", "", "", "", f"{outside:.2f}", _share(outside, total)))
    rows.append(("total", "", "", "", f"{total:.2f}", _share(total, total)))
    titles = ("layer", "class", "forward ms", "backward ms", "ms", "share")
    groups = [_row(group, total) for group in _groups(layers)]
    shown = _format(titles, rows)
    if len(groups) in (1, len(layers)):
        return shown
    return f"{shown}\n\n{_format(('group of layers', 'layers', *titles[2:]), groups)}"


def reading_table(seconds: dict[str, float], images: int) -> str:
    """Return the parts of reading an image, in milliseconds per image, sorted by their share.

    Args:
        seconds: the time of each part for all `images`.
    """
    total = sum(seconds.values())
    rows = [(name, f"{1e3 * value / images:.3f}", _share(value, total)) for name, value in _sorted(seconds)]
    return _format(
        ("reading an image", "ms", "share"), [*rows, ("total", f"{1e3 * total / images:.3f}", _share(total, total))]
    )


def _groups(layers: Iterable[LayerRow]) -> list[LayerRow]:
    """Return the sums of the layers with the same first part of the name, the slowest first."""
    members: dict[str, list[LayerRow]] = defaultdict(list)
    for layer in layers:
        members[layer.name.partition(".")[0]].append(layer)
    sums = [
        LayerRow(name, str(len(rows)), sum(row.forward for row in rows), sum(row.backward for row in rows))
        for name, rows in members.items()
    ]
    return sorted(sums, key=lambda group: -group.total)


def _row(layer: LayerRow, total: float) -> tuple[str, ...]:
    times = f"{layer.forward:.2f}", f"{layer.backward:.2f}", f"{layer.total:.2f}"
    return layer.name, layer.kind, *times, _share(layer.total, total)


def _sorted(times: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(times.items(), key=lambda item: -item[1])


def _share(value: float, total: float) -> str:
    return f"{100 * value / total:.1f}%" if total else "-"


def _format(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns: names to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    is_number = [
        all(row[index][:1].isdigit() or row[index] in ("", "-") for row in rows) for index in range(len(titles))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ).rstrip()
        for row in [titles, *rows]
    ]
    return "\n".join(lines)
