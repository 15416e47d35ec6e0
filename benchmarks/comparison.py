"""What the benchmarks share: rounds in turn, ratios with their spread, the machine, a JSON file and a plot."""

from __future__ import annotations

import json
import statistics
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppzoo.machine import processor_name, usable_cores

Figures = dict[str, list[float]]


def rounds(contestants: Mapping[str, Callable[[], float]], pairs: int) -> Figures:
    """Each contestant's figure of each round; in a round every one runs once, and the first one changes."""
    figures: Figures = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(pairs):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            figures[name].append(contestants[name]())
    return figures


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median, and smallest to largest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def add_outputs(parser: ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=5, help="rounds; 5 by default")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--plot", type=Path, help="where to draw them (.png, .svg)")


def write(options: Namespace, title: str, unit: str, cases: Mapping[str, Figures]) -> None:
    """The files that were asked for."""
    if options.json:
        content = {"benchmark": title, "unit": unit, "machine": machine(), "cases": cases}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw(options.plot, title, unit, cases)


def machine() -> dict[str, Any]:
    return {
        "processor": processor_name().partition(":")[2].strip(),
        "cores": usable_cores(),
        "python": sys.version.split()[0],
        **{name: _version(name) for name in ("paddlepaddle", "numpy", "opencv-python-headless", "pillow")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def draw(file: Path, title: str, unit: str, cases: Mapping[str, Figures]) -> None:
    """Medians as bars, side by side within a case, with lines from the smallest to the largest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for figures in cases.values() for name in figures))
    width = 0.8 / len(names)
    figure, axes = pyplot.subplots(figsize=(2 + 2 * len(cases), 4), layout="constrained")
    for place, name in enumerate(names):
        present = [(number, figures[name]) for number, figures in enumerate(cases.values()) if name in figures]
        medians = [statistics.median(values) for _, values in present]
        ends = [[m - min(v) for m, (_, v) in zip(medians, present, strict=True)]]
        ends += [[max(v) - m for m, (_, v) in zip(medians, present, strict=True)]]
        axes.bar([number + place * width for number, _ in present], medians, width, yerr=ends, capsize=3, label=name)
    axes.set_xticks([number + (len(names) - 1) * width / 2 for number in range(len(cases))], list(cases))
    axes.set(title=title, ylabel=unit)
    axes.legend()
    figure.savefig(file, dpi=120)
