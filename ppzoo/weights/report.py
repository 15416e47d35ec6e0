"""What loading did, entry by entry, and the one line that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Shape = tuple[int, ...]
MAX_SHOWN_NAMES = 3


@dataclass
class LoadReport:
    """What `load_weights` did. Names are the network's structured names; in `unexpected`, the file's.

    Attributes:
        source: where the weights came from.
        loaded: entries that the network now has from the file.
        missing: entries of the network that the file does not have.
        unexpected: entries of the file that the network does not have.
        mismatched: entry -> (shape in the file, shape in the network).
        reinitialised: entries of a classifier head of another number of classes; the network's fresh values stay.
        skipped: entries that the caller's patterns left out.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    reinitialised: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the file and the network have the same entries, those aside that are re-initialized or skipped."""
        return not (self.missing or self.unexpected or self.mismatched)

    def problems(self) -> str:
        """Counts and the first few of what did not fit; empty if everything did."""
        shapes = [
            f"{name}: {shape_text(found)} in the file, {shape_text(wanted)} in the network"
            for name, (found, wanted) in self.mismatched.items()
        ]
        parts = {"missing": self.missing, "unexpected": self.unexpected, "mis-shaped": shapes}
        return "; ".join(f"{len(names)} {what} ({_first(names)})" for what, names in parts.items() if names)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.loaded)} entries loaded"]
        if self.reinitialised:
            count = len(self.reinitialised)
            lines.append(f"{count} re-initialized, for the number of classes differs ({_first(self.reinitialised)})")
        if self.skipped:
            lines.append(f"{len(self.skipped)} skipped as asked ({_first(self.skipped)})")
        if not self.complete:
            lines.append(self.problems())
        return "; ".join(lines)


def _first(names: list[str]) -> str:
    more = len(names) - MAX_SHOWN_NAMES
    return ", ".join(names[:MAX_SHOWN_NAMES]) + (f", {more} more" if more > 0 else "")


def shape_text(shape: Iterable[int]) -> str:
    """A shape as text: 1280x10; `scalar` for the shape without axes."""
    return "x".join(map(str, shape)) or "scalar"


def best_fit(
    shapes: Mapping[str, Shape], candidates: Iterable[tuple[str, Mapping[str, Shape]]]
) -> tuple[str, float] | None:
    """The candidate with most entries of the same name and shape, and the share of all entries that these are.

    Args:
        shapes: entry -> shape in the file.
        candidates: pairs of an architecture's name and its entries' shapes; read one at a time.

    Returns:
        Name and share (0 to 1) of the best, the first of equals; None if no candidate has a single entry in common.
    """
    best = None
    for name, wanted in candidates:
        same = sum(tuple(shapes[key]) == tuple(shape) for key, shape in wanted.items() if key in shapes)
        share = same / len(shapes.keys() | wanted.keys()) if same else 0.0
        if share > (best[1] if best else 0.0):
            best = name, share
    return best
