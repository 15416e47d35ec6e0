"""What the benchmarks share: rounds in turn, ratios with their spread, the machine, a JSON file and a plot."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppzoo.host import processor_name, usable_cores

Figures = dict[str, list[float]]

COLUMNS = 5  # of panels in a plot


def rounds(contestants: Mapping[str, Callable[[], float]], pairs: int) -> Figures:
    """Each contestant's figure of each round; in a round every one runs once, and the first one changes."""
    figures: Figures = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(pairs):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            figures[name].append(contestants[name]())
    return figures


def last_line(command: list[str], about: str, variables: Mapping[str, str]) -> str:
    """What a process of its own, with further environment variables, prints last; an end if it fails."""
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{about}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip().splitlines()[-1]


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


def write(options: Namespace, title: str, unit: str, cases: Mapping[str, Figures], **beside: Any) -> None:
    """The files that were asked for; what stands beside the cases is written, and not drawn."""
    if options.json:
        content = {"benchmark": title, "unit": unit, "machine": machine(), "cases": cases, **beside}
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
    """Medians as bars with lines from the smallest to the largest, a panel with a scale of its own for each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(len(cases), COLUMNS)
    rows = math.ceil(len(cases) / columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(2 + 2.4 * columns, 0.8 + 2.6 * rows), layout="constrained", squeeze=False
    )
    names = list(dict.fromkeys(name for figures in cases.values() for name in figures))
    for panel in panels.flat[len(cases) :]:
        panel.set_axis_off()
    for panel, (case, figures) in zip(panels.flat, cases.items(), strict=False):
        for name, values in figures.items():
            median, place = statistics.median(values), names.index(name)
            ends = [[median - min(values)], [max(values) - median]]
            panel.bar(name, median, yerr=ends, capsize=3, color=f"C{place}", label=name)
        panel.set_title(case, fontsize="medium")
        panel.set_xticks([])
    for row in panels:
        row[0].set_ylabel(unit)
    bars = {bar.get_label(): bar for panel in panels.flat for bar in panel.containers if bar.get_label() in names}
    figure.legend(bars.values(), bars.keys(), loc="outside lower center", ncols=COLUMNS)
    figure.suptitle(title)
    figure.savefig(file, dpi=120)
