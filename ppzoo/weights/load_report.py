"""The report of loading weights: which entries were loaded, and which did not match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Shape = tuple[int, ...]
MAX_SHOWN_NAMES = 3


@dataclass
class LoadReport:
    """Result of `load_weights`. Names are the network's structured names; in `unexpected`, the file's.

    Attributes:
        source: the file, or "the given arrays".
        loaded: entries that were loaded.
        missing: entries of the network that the file does not have.
        unexpected: entries of the file that the network does not have.
        mismatched: entry -> (shape in the file, shape in the network).
        reinitialised: entries of a classifier head with another number of classes; the network keeps its own values.
        converted: kernels of the first convolution that were converted to another number of channels of the images:
            entry -> (channels in the file, channels of the network). They are in `loaded`, too.
        skipped: entries of the network that match the caller's `skip` patterns.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    reinitialised: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    converted: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether file and network have the same entries and shapes, except for re-initialized and skipped entries."""
        return not (self.missing or self.unexpected or self.mismatched)

    def problems(self) -> str:
        """Return counts and the first names of the entries that do not match; empty if all match."""
        shapes = [
            f"{name}: {shape_text(found)} in the weights, {shape_text(expected)} in the network"
            for name, (found, expected) in self.mismatched.items()
        ]
        parts = {"missing": self.missing, "unexpected": self.unexpected, "mismatched": shapes}
        return "; ".join(f"{len(names)} {problem} ({_first(names)})" for problem, names in parts.items() if names)

    def __str__(self) -> str:
        lines = [f"loaded {len(self.loaded)} entries from {self.source}"]
        if self.reinitialised:
            count = len(self.reinitialised)
            lines.append(f"{count} re-initialized for another number of classes ({_first(self.reinitialised)})")
        if self.converted:
            (found, expected), *_ = self.converted.values()
            rule = "summed" if expected == 1 else "repeated and scaled"
            names = _first(list(self.converted))
            lines.append(f"{names} {rule} from {found} to {expected} channel{'s' if expected > 1 else ''}")
        if self.skipped:
            lines.append(f"{len(self.skipped)} skipped by pattern ({_first(self.skipped)})")
        if not self.complete:
            lines.append(self.problems())
        return "; ".join(lines)


def _first(names: list[str]) -> str:
    more = len(names) - MAX_SHOWN_NAMES
    return ", ".join(names[:MAX_SHOWN_NAMES]) + (f", {more} more" if more > 0 else "")


def shape_text(shape: Iterable[int]) -> str:
    """Format a shape: `1280x10`, or `scalar` for a shape without axes."""
    return "x".join(map(str, shape)) or "scalar"


MIN_SIMILARITY = 0.9  # share of matching entries above which a file is assumed to belong to an architecture


def best_fit(
    shapes: Mapping[str, Shape], candidates: Iterable[tuple[str, Mapping[str, Shape]]]
) -> tuple[str, float] | None:
    """Return the candidate with the most equal entries (name and shape), as a share of all its and the file's entries.

    Args:
        shapes: entry -> shape in the file.
        candidates: name and entry shapes of each architecture; read one at a time.

    Returns:
        Name and share (0 to 1) of the best candidate, the first of several equal ones; None if no entry is equal.
    """
    best = None
    for name, expected in candidates:
        same = sum(tuple(shapes[key]) == tuple(shape) for key, shape in expected.items() if key in shapes)
        share = same / len(shapes.keys() | expected.keys()) if same else 0.0
        if share > (best[1] if best else 0.0):
            best = name, share
    return best
