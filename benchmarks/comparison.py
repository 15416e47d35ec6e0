"""Code shared by the benchmarks: interleaved rounds, ratios, printed tables, and results as JSON and plots."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ppzoo.files import write_text
from ppzoo.host import processor_name, usable_cores

ROOT = Path(__file__).resolve().parent.parent
PLOT_COLUMNS = 5
RATIO_WIDTH = 24  # columns of text that a summary such as "16.82 (15.50 to 18.01)" needs

# Name of an implementation -> its measured value in each round.
Results = dict[str, list[float]]


def read_records(file: Path, task: type[Any]) -> dict[Any, dict[str, Any]]:
    """Return what `add_record` wrote for each task; nothing if the file does not exist.

    Args:
        task: the NamedTuple of the tasks.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {task(*(entry[name] for name in task._fields)): entry for entry in map(json.loads, lines)}


def add_record(file: Path, task: Any, result: Mapping[str, Any]) -> None:
    """Add the result of a task; the file is replaced as a whole, so that an interruption cannot damage it."""
    entries = [*read_records(file, type(task)).values(), {**task._asdict(), **result}]
    write_text(file, "".join(json.dumps(entry) + "\n" for entry in entries))


def run_rounds(measurements: Mapping[str, Callable[[], float]], rounds: int) -> Results:
    """Run all measurements once per round and return the values of each; the order is rotated between rounds."""
    results: Results = {name: [] for name in measurements}
    names = list(measurements)
    for number in range(rounds):
        offset = number % len(names)
        for name in names[offset:] + names[:offset]:
            results[name].append(measurements[name]())
    return results


def run_subprocess(command: list[str], label: str, variables: Mapping[str, str]) -> str:
    """Run a command with additional environment variables and return the last line that it prints.

    The subprocess imports ppzoo from this checkout, also in an environment in which ppzoo is not installed.

    Raises:
        SystemExit: The command failed; the message has its last line of stderr.
    """
    search_path = os.pathsep.join(filter(None, [str(ROOT), variables.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **variables, "PYTHONPATH": search_path}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode:
        errors = process.stderr.strip().splitlines()
        raise SystemExit(f"{label}: {errors[-1] if errors else f'exit status {process.returncode}'}")
    return process.stdout.strip().splitlines()[-1]


def median_milliseconds(call: Callable[[], object], warm_up: int, min_calls: int, min_seconds: float) -> float:
    """Return the median time of a call, after `warm_up` calls, over at least `min_calls` and `min_seconds`."""
    for _ in range(warm_up):
        call()
    times = []
    finish = time.perf_counter() + min_seconds
    while time.perf_counter() < finish or len(times) < min_calls:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio of two measurements in each round."""
    return [numerator / denominator for numerator, denominator in zip(numerators, denominators, strict=True)]


def summarize(values: Sequence[float], form: str = ".2f") -> str:
    """Format the median and the range of some values: `1.72 (1.66 to 1.96)`."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


class Table:
    """A printed table whose rows appear one by one while the benchmark runs.

    Args:
        columns: The header of each column and its least width in characters.
    """

    def __init__(self, columns: Mapping[str, int]) -> None:
        self.widths = [max(len(header), width) for header, width in columns.items()]
        self.print_row(*columns)

    def print_row(self, *cells: str) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, self.widths, strict=True))
        print("  ".join(padded).rstrip(), flush=True)


def add_output_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=5, help="number of rounds (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results to this file (.png, .svg)")


def write_results(options: Namespace, title: str, unit: str, cases: Mapping[str, Results], **extra: Any) -> None:
    """Write the files requested by --json and --plot; `extra` entries go to the JSON file only."""
    if options.json:
        content = {"benchmark": title, "unit": unit, "machine": machine(), "cases": cases, **extra}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw(options.plot, title, unit, cases)


def machine() -> dict[str, Any]:
    """Return the processor, the number of usable cores, and the versions that the results depend on."""
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


def draw(file: Path, title: str, unit: str, cases: Mapping[str, Results]) -> None:
    """Plot one panel per case: bars show the medians, error bars the range."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(len(cases), PLOT_COLUMNS)
    rows = math.ceil(len(cases) / columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(2 + 2.4 * columns, 0.8 + 2.6 * rows), layout="constrained", squeeze=False
    )
    names = list(dict.fromkeys(name for results in cases.values() for name in results))
    for panel in panels.flat[len(cases) :]:
        panel.set_axis_off()
    for panel, (case, results) in zip(panels.flat, cases.items(), strict=False):
        for name, values in results.items():
            median = statistics.median(values)
            error = [[median - min(values)], [max(values) - median]]
            panel.bar(name, median, yerr=error, capsize=3, color=f"C{names.index(name)}", label=name)
        panel.set_title(case, fontsize="medium")
        panel.set_xticks([])
    for row in panels:
        row[0].set_ylabel(unit)
    bars = {bar.get_label(): bar for panel in panels.flat for bar in panel.containers if bar.get_label() in names}
    figure.legend(bars.values(), bars.keys(), loc="outside lower center", ncols=PLOT_COLUMNS)
    figure.suptitle(title)
    figure.savefig(file, dpi=120)
