"""The report of a run or an export: what its network predicts on the evaluation data, and what it is wrong about.

`build_report` returns the content of `report.json`, which docs/reports.md describes; `report_files.write_report_files`
writes it, the page and the tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np

from ppzoo import analysis
from ppzoo.analysis import ClassScores, Predictions
from ppzoo.builders.report_data import describe_report_data
from ppzoo.builders.report_explain import build_map, draw_overlays
from ppzoo.builders.report_facts import (
    describe_environment,
    describe_model,
    find_interruption,
    measure_speed,
    read_curves,
)
from ppzoo.builders.report_images import build_gallery
from ppzoo.builders.report_sources import EvaluatedNetwork
from ppzoo.explain import Projection
from ppzoo.report import Note, describe_notes, make_note

VERSION = 1


def build_report(evaluated: EvaluatedNetwork, projection: Projection = "pca") -> dict[str, Any]:
    """Return the content of `report.json`.

    Args:
        projection: how the map of the images is computed from the features.
    """
    notes = list(evaluated.notes)
    curves = interrupted = None
    if evaluated.config is not None and not evaluated.weight_files:
        notes.append(make_note("curves_other_weights"))
    elif evaluated.config is not None:
        curves = read_curves(evaluated.source, notes)
        interrupted = find_interruption(evaluated.config, evaluated.source, curves)
    gallery = build_gallery(evaluated)
    draw_overlays(evaluated, gallery, notes)
    report = {
        "version": VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "title": evaluated.title,
        "source": str(evaluated.source),
        "kind": evaluated.kind,
        "task": "multi_label" if evaluated.predictions.multi_label else "single_label",
        "classes": evaluated.classes,
        "metrics": evaluated.metrics,
        "main": evaluated.main,
        "images": len(evaluated.predictions),
        "curves": curves,
        "interrupted": interrupted,
        **describe_predictions(evaluated.predictions, notes),
        "gallery": gallery,
        "data": describe_report_data(evaluated, notes),
        "map": build_map(evaluated, notes, projection),
        "model": describe_model(evaluated),
        "speed": measure_speed(evaluated),
        "config": evaluated.config_text,
        "environment": describe_environment(),
    }
    if evaluated.lost:
        notes.append(make_note("lost_images", n=len(evaluated.lost)))
    return to_json_types(report | describe_notes(notes))


def describe_predictions(predictions: Predictions, notes: list[Note]) -> dict[str, Any]:
    """Return the sections that follow from the predictions alone; add what could not be computed to `notes`."""
    class_num = predictions.class_num
    confusion = label_confusion = weakest = None
    if predictions.multi_label:
        label_confusion = analysis.count_label_confusion(predictions.labels, predictions.predicted)
        scores = analysis.score_labels(label_confusion)
    else:
        confusion = analysis.count_confusion(predictions.labels, predictions.predicted, class_num)
        scores = analysis.score_classes(confusion, class_num)
        weakest = analysis.find_weakest_class(confusion, class_num)
    return {
        "weakest": weakest
        and {"class": weakest.label, "recall": weakest.recall, "mostly": weakest.mostly, "share": weakest.share},
        "per_class": _describe_classes(scores),
        "confusion": confusion,
        "label_confusion": label_confusion,
        "calibration": _describe_calibration(predictions, notes),
        "coverage": analysis.coverage_curve(predictions),
    }


def _describe_classes(scores: ClassScores) -> list[dict[str, Any]]:
    return [
        {"class": index, "precision": precision, "recall": recall, "f1": f1, "support": support}
        for index, (precision, recall, f1, support) in enumerate(zip(*scores, strict=True))
    ]


def _describe_calibration(predictions: Predictions, notes: list[Note]) -> dict[str, Any]:
    labels = predictions.labels[predictions.kept]
    temperature = analysis.fit_temperature(predictions.scores, labels)
    scaled = None
    if temperature is None:
        notes.append(make_note("no_temperature"))
    else:
        scaled = analysis.calibration_error(analysis.scaled_bins(predictions.scores, labels, temperature))
    return {
        "bins": analysis.describe_bins(predictions.bins),
        "ece": analysis.calibration_error(predictions.bins),
        "temperature": temperature,
        "ece_scaled": scaled,
    }


def summarize_report(report: Mapping[str, Any]) -> str:
    """Return the main metric and the weakest class in one sentence.

    For example: '0.8790 top-1; Shirt is the weakest class: recall 0.6800, most often mistaken for T-shirt/top'.
    """
    main = report["main"] or "loss"
    name = f"top-{main[3:]}" if main.startswith("top") and main[3:].isdigit() else main
    sentence = f"{report['metrics'][main]:.4f} {name}"
    weakest = report["weakest"]
    if weakest is None:
        return sentence
    classes = report["classes"]
    return (
        f"{sentence}; {classes[weakest['class']]} is the weakest class: recall {weakest['recall']:.4f}, most"
        f" often mistaken for {classes[weakest['mostly']]}"
    )


def to_json_types(value: Any) -> Any:
    """Return a value as JSON types: arrays as lists, NaN and infinity as None, invalid Unicode as escapes."""
    if isinstance(value, Mapping):
        return {str(key): to_json_types(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_json_types(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_json_types(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return clean_text(value) if isinstance(value, str) else value


def clean_text(text: str) -> str:
    """Return text that can be encoded: bytes of a file's name that are not UTF-8 become escapes such as '\\udcff'."""
    return text.encode(errors="backslashreplace").decode()
