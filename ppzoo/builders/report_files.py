"""The files of a report: `report.html`, `report.json`, `predictions.csv` and `confusion.csv`."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ppzoo.builders.report_images import describe_prediction
from ppzoo.builders.report_sources import EvaluatedNetwork
from ppzoo.builders.reporting import clean_text
from ppzoo.errors import OutputError, errors_with_key
from ppzoo.files import find_write_error, make_folder, write_atomically, write_text

logger = logging.getLogger("ppzoo")

FOLDER = "report"
PAGE, JSON, PREDICTIONS, CONFUSION = "report.html", "report.json", "predictions.csv", "confusion.csv"
MAX_CONFUSION_CLASSES = 5000  # the table has a cell for each pair of classes
FILES = (PAGE, JSON, PREDICTIONS, CONFUSION)
PREDICTION_COLUMNS = (
    *("file", "label", "label_name", "predicted", "predicted_name"),
    *("confidence", "label_confidence", "loss", "correct"),
)
LABEL_CONFUSION_COLUMNS = ("class", "true_positives", "false_positives", "false_negatives", "true_negatives")


def open_report_folder(source: Path, requested: str | None = None) -> Path:
    """Create the folder of a report and return it.

    Args:
        source: the folder of the run or export. Its subfolder `report` is the default; if that cannot be written, the
            subfolder `report` of the current folder is used.
        requested: another folder.

    Raises:
        OutputError: it cannot be created.
    """
    if requested is not None:
        with errors_with_key("--output"):
            return _make_writable(Path(requested))
    try:
        return _make_writable(source / FOLDER)
    except OutputError as error:
        logger.info("%s; writing to %s in the current folder", error, FOLDER)
        return _make_writable(Path(FOLDER))


def _make_writable(folder: Path) -> Path:
    try:
        make_folder(folder)
    except OSError as error:
        raise OutputError(folder, error) from error
    problem = find_write_error(folder)
    if problem is not None:
        raise OutputError(folder, problem)
    return folder


def write_report_files(folder: Path, report: Mapping[str, Any], evaluated: EvaluatedNetwork, page: str) -> Path:
    """Write the files of a report and return the path of the page.

    Args:
        page: the HTML of the page.

    Raises:
        OutputError: a file cannot be written.
    """
    text = json.dumps(report, ensure_ascii=False, allow_nan=False)
    rows = _multi_label_confusion(report) if report["confusion"] is None else _confusion_rows(report)
    try:
        write_text(folder / JSON, text + "\n")
        write_table(folder / PREDICTIONS, [PREDICTION_COLUMNS, *_prediction_rows(report, evaluated)])
        if len(report["classes"]) <= MAX_CONFUSION_CLASSES:
            write_table(folder / CONFUSION, rows)
        else:
            (folder / CONFUSION).unlink(missing_ok=True)  # of an earlier report
        write_text(folder / PAGE, page)
    except OSError as error:
        raise OutputError(error.filename or folder, error) from error
    return folder / PAGE


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV in UTF-8; fields with commas, quotes and line ends are quoted."""

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        csv.writer(text).writerows(rows)
        text.detach()

    write_atomically(path, write)


def _prediction_rows(report: Mapping[str, Any], evaluated: EvaluatedNetwork) -> Iterator[list[Any]]:
    classes = report["classes"]
    for position in range(len(evaluated.predictions)):
        one = describe_prediction(evaluated, position)
        labels = [_join(one[key]) for key in ("label", "predicted")]
        names = [_join(_names(one[key], classes)) for key in ("label", "predicted")]
        numbers = [one[key] for key in ("confidence", "label_confidence", "loss")]
        yield [clean_text(one["file"]), labels[0], names[0], labels[1], names[1], *numbers, int(one["correct"])]


def _names(labels: int | list[int], classes: list[str]) -> str | list[str]:
    return [classes[label] for label in labels] if isinstance(labels, list) else classes[labels]


def _join(value: Any) -> Any:
    return ";".join(map(str, value)) if isinstance(value, list) else value


def _confusion_rows(report: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield the header with the predicted classes, and for each class its name and its counts."""
    classes = report["classes"]
    yield ["", *classes]
    counts = np.array(report["confusion"], np.int64).reshape(-1, 3)
    for label, name in enumerate(classes):
        row = np.zeros(len(classes), np.int64)
        found = counts[counts[:, 0] == label]
        row[found[:, 1]] = found[:, 2]
        yield [name, *row.tolist()]


def _multi_label_confusion(report: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    yield LABEL_CONFUSION_COLUMNS
    for index, *counts in report["label_confusion"]:
        yield [report["classes"][index], *counts]
