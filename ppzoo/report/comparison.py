"""The comparison of runs as text and as a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppzoo.errors import count_text, one_line
from ppzoo.progress import duration_text
from ppzoo.report.page import Language, build_page, read_texts

SIGNIFICANT = 0.05  # a difference whose p-value is below this is reported as more than chance
MISSING = "-"
MAX_CELL = 60  # characters of a value


def render_comparison(comparison: Mapping[str, Any], language: Language = "en") -> str:
    """Return a comparison of `ppzoo.builders.compare_runs` as one HTML file that sends no requests."""
    title = read_texts(language)["comparison.title"].format(n=len(comparison["runs"]))
    return build_page(title, language, ["comparison.js"], comparison)


def format_comparison(comparison: Mapping[str, Any]) -> str:
    """Return the comparison as text: results, differences of the configurations, and the tests in sentences."""
    runs = comparison["runs"]
    blocks = ["\n".join(one_line(f"run {number}: {run['folder']}") for number, run in enumerate(runs, 1))]
    numbers = [f"run {number}" for number in range(1, len(runs) + 1)]
    blocks.append(_format([["result", *numbers], *_results(runs)]))
    rows = [[row["key"], *map(_value, row["values"])] for row in comparison["differences"]]
    blocks.append(_format([["configuration", *numbers], *rows]) if rows else "the configurations are the same")
    blocks.append("\n".join(one_line(_test_sentence(test)) for test in comparison["tests"]))
    notes = [one_line(f"run {number}: {note}") for number, run in enumerate(runs, 1) for note in run["notes"]]
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])])


def _results(runs: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    yield ["best main metric", *(_number(run["best"], f"{run['main']} {{:.4f}}") for run in runs)]
    yield ["epoch of the best", *(_number(run["best_epoch"], "{}") for run in runs)]
    for key in dict.fromkeys(key for run in runs for key in run["metrics"] or ()):
        yield [key, *(_number((run["metrics"] or {}).get(key), "{:.4f}") for run in runs)]
    yield ["finished epochs", *(_number(run["epochs"], "{}") for run in runs)]
    yield ["time", *(MISSING if run["seconds"] is None else duration_text(run["seconds"]) for run in runs)]
    yield ["images/s", *(_number(run["images_per_second"], "{:.0f}") for run in runs)]


def _test_sentence(test: Mapping[str, Any]) -> str:
    """Return the result of McNemar's test of the first run and another one."""
    other = test["second"] + 1
    if test["problem"]:
        return f"no significance test of run 1 and run {other}: {test['problem']}"
    (right, also_right), (only, only_other) = test["right"], test["only"]
    chance = "is more than chance" if test["p_value"] < SIGNIFICANT else "can be chance"
    return (
        f"on the same {count_text(test['images'], 'image')}, run 1 predicts {right} correctly and run {other}"
        f" {also_right}; only run 1: {only}, only run {other}: {only_other}. The difference {chance}"
        f" ({_format_p_value(test['p_value'])}, McNemar's exact test)"
    )


def _format_p_value(value: float) -> str:
    return f"p = {value:.2g}" if value else f"p < {sys.float_info.min:.0e}"  # a p-value is never 0


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None else form.format(value)


def _value(value: Any) -> str:
    if value is None:
        return MISSING
    text = one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."


def _format(rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns; wide characters count as two."""
    from rich.cells import cell_len

    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)
