"""Compare runs: their configurations, their results, and their predictions for the same images."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from ppzoo import analysis
from ppzoo import config as configuration
from ppzoo.builders.component_factory import build_metrics, components
from ppzoo.builders.report_facts import read_curves
from ppzoo.builders.report_files import FOLDER, PREDICTIONS
from ppzoo.builders.reporting import to_json_types
from ppzoo.errors import ConfigError, DataError
from ppzoo.events import EMA_SUFFIX
from ppzoo.files import RUN_CONFIG, WEIGHTS, read_plain_file, weights_of_run
from ppzoo.report import Note, describe_notes, make_note

MAX_FIELD = 1 << 20  # characters of a field of predictions.csv: an image can have thousands of labels

Key = tuple[str, int]  # the file of an image, and how many images of that file precede it


def compare_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what differs between runs, as JSON values.

    "runs" has the results of each run, "differences" the keys of the configurations whose values differ, and "tests"
    the comparison of the first run with each of the others on the same images.

    Raises:
        ConfigError: fewer than two runs, a run twice, or a configuration that cannot be read or has invalid metrics.
    """
    if len(folders) < 2:
        raise ConfigError(f"compare: expected two runs or more, got {len(folders)}")
    repeated = [str(folder) for folder, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if repeated:
        raise ConfigError(f"compare: expected different runs, got {repeated[0]} more than once")
    known = components()
    configs = [configuration.load(str(folder / RUN_CONFIG), (), known) for folder in folders]
    for folder, raw in zip(folders, configs, strict=True):
        _require_metrics(folder / RUN_CONFIG, raw, known)
    comparison = {
        "version": 1,
        "runs": [describe_run(folder, raw) for folder, raw in zip(folders, configs, strict=True)],
        "differences": differences(configs),
        "tests": [
            compare_predictions(folders[0], other) | {"second": index} for index, other in enumerate(folders[1:], 1)
        ],
    }
    plain: dict[str, Any] = to_json_types(comparison)
    return plain


def describe_run(folder: Path, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a run; those that are unknown are None.

    Args:
        raw: its configuration.
    """
    notes: list[Note] = []
    curves = read_curves(folder, notes)
    main, higher_is_better = main_metric(raw)
    entries = curves or []
    best = best_entry(entries, main, higher_is_better)
    seconds = sum(_number(entry, "train_seconds") for entry in entries)
    images = sum(_number(entry, "images_per_second") * _number(entry, "train_seconds") for entry in entries)
    return {
        "folder": str(folder),
        **describe_notes(notes),
        "curves": curves,
        "epochs": entries[-1]["epoch"] if entries else None,
        "main": main,
        "best_epoch": best[0] if best else None,
        "best": best[1] if best else None,
        "metrics": best[2] if best else None,
        "seconds": seconds + sum(_number(entry, "eval_seconds") for entry in entries) if entries else None,
        "images_per_second": images / seconds if seconds else None,
    }


def _require_metrics(file: Path, raw: Mapping[str, Any], known: configuration.Components) -> None:
    """Check only the metrics of a configuration: its network can be one that only the user's program registers.

    Raises:
        ConfigError: all mistakes in the section `Metric`.
    """
    problems = [problem for problem in configuration.check(raw, known, None) if problem.startswith("Metric")]
    if problems:
        raise ConfigError(*(f"{file}: {problem}" for problem in problems))


def _number(entry: Mapping[str, Any], key: str) -> float:
    """Return a value of an epoch; 0 if it is missing or no number."""
    value = entry.get(key)
    return value if isinstance(value, int | float) else 0.0


def main_metric(raw: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the name of the metric that decides which epoch is best, and whether a higher value is better."""
    metrics = build_metrics([{name: options} for _, name, options in configuration.list_items(raw, "Metric.Eval")])
    return (metrics.main, metrics.higher_is_better) if metrics.main else ("loss", False)


def best_entry(
    entries: Sequence[Mapping[str, Any]], main: str, higher_is_better: bool
) -> tuple[int, float, dict[str, float]] | None:
    """Return the epoch with the best main metric, that value, and all metrics of the weights that reached it.

    The averaged weights count, too; values that are not finite do not count. None if there is no value.
    """
    found = None
    for entry in entries:
        for suffix in ("", EMA_SUFFIX):
            value = (entry.get("eval") or {}).get(main + suffix)
            if value is None or not math.isfinite(value):
                continue
            if found is None or (value > found[1] if higher_is_better else value < found[1]):
                metrics = {
                    name.removesuffix(EMA_SUFFIX): number
                    for name, number in entry["eval"].items()
                    if name.endswith(EMA_SUFFIX) == bool(suffix)
                }
                found = (entry["epoch"], value, metrics)
    return found


def differences(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the keys whose values differ, each with the value of each configuration; None where it is missing."""
    flat = [dict(flatten(config)) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = [{"key": key, "values": [one.get(key) for one in flat]} for key in keys]
    return [row for row in rows if any(_differ(row["values"][0], value) for value in row["values"][1:])]


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of a configuration with their values; lists of plain values are one value."""
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from flatten(entry, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        for index, entry in enumerate(value):
            yield from flatten(entry, f"{prefix}.{index}")
    else:
        yield prefix, value


def _differ(first: Any, second: Any) -> bool:
    """Return whether two values differ; 1 and 1.0 are equal, 1 and True are not."""
    return first != second or isinstance(first, bool) != isinstance(second, bool)


# --- predictions ----------------------------------------------------------------------------------------------------


class MissingPredictions(DataError):
    """A run without predictions that can be compared; `problem` is "missing", "old" or "damaged"."""

    def __init__(self, folder: Path, problem: str) -> None:
        command = f"ppzoo report {quote(str(folder))}"
        self.note = make_note(f"predictions_{problem}", file=str(folder / FOLDER / PREDICTIONS), command=command)
        super().__init__(self.note.text)


def _no_test(reason: Note) -> dict[str, Any]:
    return {"problem": reason.text, "problem_values": list(reason)}


def compare_predictions(first: Path, second: Path) -> dict[str, Any]:
    """Return McNemar's exact test on the images in both reports; "problem" is why there is no test, or None."""
    try:
        one, other = read_predictions(first), read_predictions(second)
    except MissingPredictions as error:
        return _no_test(error.note)
    common = [key for key in one if key in other]
    if not common:
        return _no_test(make_note("no_common_images", first=str(first), second=str(second)))
    if any(one[key][0] != other[key][0] for key in common):
        return _no_test(make_note("other_labels", first=str(first), second=str(second)))
    right, also_right = (np.array([rows[key][1] for key in common]) for rows in (one, other))
    test = analysis.mcnemar(right, also_right)
    return {
        "problem": None,
        "images": len(common),
        "right": [int(right.sum()), int(also_right.sum())],
        "only": [test.only_first, test.only_second],
        "p_value": test.p_value,
        "all_images": len(common) == len(one) == len(other),
    }


def read_predictions(folder: Path) -> dict[Key, tuple[str, bool]]:
    """Return label and correctness of each image in the report of a run.

    Raises:
        MissingPredictions: there is no report, it is older than the weights, or its table is damaged.
    """
    path = folder / FOLDER / PREDICTIONS
    weights = weights_of_run(folder)
    try:
        written = path.stat().st_mtime
        if weights is not None and written < Path(f"{weights}{WEIGHTS}").stat().st_mtime:
            raise MissingPredictions(folder, "old")
        csv.field_size_limit(MAX_FIELD)
        found: dict[Key, tuple[str, bool]] = {}
        seen: Counter[str] = Counter()
        for row in csv.DictReader(io.StringIO(read_plain_file(path).decode(), newline="")):
            found[row["file"], seen[row["file"]]] = row["label_name"], {"0": False, "1": True}[row["correct"]]
            seen[row["file"]] += 1
    except FileNotFoundError as error:
        raise MissingPredictions(folder, "missing") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise MissingPredictions(folder, "damaged") from error
    return found
