"""Made-up reports: the dictionary of report.json, version 1, with consistent values."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

FASHION = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- <b>\"'&amp;",
    "line\nend\u2028\u2029",
    "\u202egnp.exe",
    "\udc80 \x1b[31m",
]
CHINESE = ["T恤", "裤子", "套头衫", "连衣裙", "外套", "凉鞋", "衬衫", "运动鞋", "包", "短靴"]
CONFIG = "Global:\n  epochs: 20\n  image_shape: [1, 28, 28]\nArch:\n  name: MobileNetV2_x0_5\n  class_num: 10\n"


def picture(seed: int, size: int = 96) -> str:
    """Return a small image as a data URL."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def make_report(
    names: list[str] | None = None, *, images: int = 10000, epochs: int = 20, seed: int = 0, **changes: Any
) -> dict[str, Any]:
    """Return the report of a run with one label per image; `changes` replace sections."""
    names = FASHION if names is None else names
    random = np.random.default_rng(seed)
    labels, predicted, confidence = _predictions(random, len(names), images)
    correct = labels == predicted
    classes = len(names)
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    per_class = _per_class(matrix)
    report = {
        "version": 1,
        "created": "2026-11-28T22:30:00+00:00",
        "title": "MobileNetV2_x0_5",
        "source": "output/MobileNetV2_x0_5",
        "kind": "run",
        "task": "single_label",
        "notes": [],
        "classes": names,
        "metrics": {"loss": 0.3142, "top1": float(correct.mean()), "top5": 0.9968, "f1_macro": 0.8917},
        "main": "top1",
        "images": images,
        "weakest": _weakest(matrix, per_class),
        "curves": _curves(epochs),
        "interrupted": None,
        "per_class": per_class,
        "confusion": [[int(t), int(p), int(matrix[t, p])] for t, p in zip(*np.nonzero(matrix), strict=True)],
        "label_confusion": None,
        "calibration": _calibration(confidence, correct),
        "coverage": _coverage(confidence, correct),
        "gallery": _gallery(labels, predicted, confidence),
        "data": _data(random, matrix),
        "map": _map(random, labels, predicted, classes),
        "model": {
            "name": "MobileNetV2_x0_5",
            "parameters": 706218,
            "flops": 1.02e7,
            "flops_input": [3, 64, 64],
            "file_bytes": 2.9e6,
        },
        "speed": {"images_per_second": 2412.3, "batch_size": 64, "milliseconds_single": 1.84, "engine": "Paddle"},
        "config": CONFIG,
        "environment": {
            "ppzoo": "0.2.0",
            "paddle": "3.3.1",
            "python": "3.11.2",
            "system": "Linux 6.1",
            "processor": "x86-64 with AVX2",
            "cores": 2,
            "device": "cpu",
        },
    }
    return {**report, **changes}


def make_multi_label_report(names: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """Return the report of an export with several labels per image."""
    names = FASHION if names is None else names
    random = np.random.default_rng(1)
    counts = random.integers(20, 400, (len(names), 4)).tolist()
    report = make_report(names, images=800)
    single = [report["gallery"][kind] for kind in report["gallery"]]
    for image in (image for images in single for image in images):
        image["label"] = sorted({image["label"], (image["label"] + 1) % len(names)})
        image["predicted"] = [image["predicted"]] if image["loss"] > 1 else image["label"]
        image["correct"] = image["predicted"] == image["label"]
    points = [[x, y, [label], [predicted]] for x, y, label, predicted in report["map"]["points"]]
    parts = {
        "kind": "export",
        "task": "multi_label",
        "notes": ["The training data is not known: `ppzoo report EXPORT --data FOLDER` adds it."],
        "metrics": {"loss": 0.21, "MultiLabelMAP": 0.8123, "HammingDistance": 0.0312},
        "main": "MultiLabelMAP",
        "weakest": None,
        "curves": [],
        "confusion": None,
        "label_confusion": [[index, *count] for index, count in enumerate(counts)],
        "data": {**report["data"], "train": None, "duplicates": [], "duplicate_count": 0},
        "map": {"method": "tsne", "points": points},
    }
    return {**report, **parts, **changes}


def make_names(classes: int) -> list[str]:
    """Return class names with various lengths, spaces and scripts."""
    stems = [
        "tabby cat",
        "golden retriever",
        "sports car",
        "山水画",
        "espresso",
        "cabbage butterfly, Pieris rapae",
        "قطة",
    ]
    return [f"{stems[index % len(stems)]} {index}" for index in range(classes)]


def _predictions(random: Any, classes: int, images: int) -> tuple[Any, Any, Any]:
    labels = random.integers(0, classes, images)
    confidence = np.clip(random.beta(5, 1, images), 1 / classes, 0.9999)
    correct = random.random(images) < confidence * 0.93
    predicted = np.where(correct, labels, (labels + random.choice([1, 2, 6], images)) % classes)
    return labels, predicted, confidence


def _per_class(matrix: Any) -> list[dict[str, Any]]:
    right, support, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)

    def ratio(part: Any, total: Any) -> float | None:
        return float(part / total) if total else None

    return [
        {
            "class": index,
            "precision": ratio(right[index], predicted[index]),
            "recall": ratio(right[index], support[index]),
            "f1": ratio(2 * right[index], support[index] + predicted[index]),
            "support": int(support[index]),
        }
        for index in range(len(matrix))
    ]


def _weakest(matrix: Any, per_class: list[dict[str, Any]]) -> dict[str, Any]:
    worst = min((row for row in per_class if row["support"]), key=lambda row: row["recall"])
    row = matrix[worst["class"]].copy()
    support, row[worst["class"]] = row.sum(), 0
    mostly = int(row.argmax()) if row.any() else None
    share = None if mostly is None else float(row[mostly] / support)
    return {"class": worst["class"], "recall": worst["recall"], "mostly": mostly, "share": share}


def _curves(epochs: int) -> list[dict[str, Any]]:
    entries = []
    for epoch in range(1, epochs + 1):
        progress = 1 - np.exp(-epoch / 5)
        evaluated = {"loss": 1.4 - 1.05 * progress, "top1": 0.5 + 0.39 * progress, "top1_ema": 0.48 + 0.42 * progress}
        entries.append(
            {
                "epoch": epoch,
                "train": {"loss": 1.6 - 1.35 * progress, "top1": 0.45 + 0.46 * progress},
                "eval": evaluated if epoch % 2 or epoch == epochs else None,
                "lr": 0.05 * (1 + float(np.cos(np.pi * epoch / epochs))),
                "images_per_second": 2400.0,
                "train_seconds": 25.0,
                "eval_seconds": 2.0,
            }
        )
    return entries


def _calibration(confidence: Any, correct: Any) -> dict[str, Any]:
    edges = np.linspace(0, 1, 16)
    bins, ece = [], 0.0
    for lower, upper in pairwise(edges):
        inside = (confidence > lower) & (confidence <= upper)
        count = int(inside.sum())
        means = [float(values[inside].mean()) if count else None for values in (confidence, correct)]
        bins.append({"lower": float(lower), "upper": float(upper), "count": count})
        bins[-1].update(confidence=means[0], accuracy=means[1])
        ece += abs(means[0] - means[1]) * count / len(confidence) if count else 0
    return {"bins": bins, "ece": ece, "temperature": 1.1834, "ece_scaled": ece / 3}


def _coverage(confidence: Any, correct: Any) -> list[dict[str, float]]:
    points = []
    for threshold in [0.0, *np.quantile(confidence, np.linspace(0.02, 0.98, 48))]:
        kept = confidence >= threshold
        points.append({"coverage": kept.mean(), "threshold": threshold, "accuracy": correct[kept].mean()})
    return [{key: float(value) for key, value in point.items()} for point in points]


def _gallery(labels: Any, predicted: Any, confidence: Any) -> dict[str, list[dict[str, Any]]]:
    loss = np.where(labels == predicted, -np.log(confidence), -np.log((1 - confidence) / 2))
    orders = {
        "highest_loss": np.argsort(-loss),
        "least_confident": np.argsort(confidence),
        "confidently_wrong": np.argsort(np.where(labels == predicted, 9, -confidence))[
            : int((labels != predicted).sum())
        ],
    }

    def entry(index: int) -> dict[str, Any]:
        return {
            "file": f"val/class {labels[index]}/photo_{index}.jpg",
            "label": int(labels[index]),
            "predicted": int(predicted[index]),
            "confidence": float(confidence[index]),
            "label_confidence": float(np.exp(-loss[index])),
            "loss": float(loss[index]),
            "correct": bool(labels[index] == predicted[index]),
            "thumbnail": picture(int(index)),
            "overlay": picture(int(index) + 1),
        }

    return {kind: [entry(index) for index in order[:12]] for kind, order in orders.items()}


def _data(random: Any, matrix: Any) -> dict[str, Any]:
    train = random.integers(300, 900, len(matrix)).tolist()
    evaluated = matrix.sum(1).tolist()
    return {
        "train": {"images": sum(train), "per_class": train},
        "eval": {"images": sum(evaluated), "per_class": evaluated},
        "sizes": [[640, 480, 5000], [480, 640, 2500], *([300 + index, 200, 40 - index] for index in range(30))],
        "duplicates": [{"train": f"train/{index}.jpg", "eval": f"val/{index}.jpg"} for index in range(3)],
        "duplicate_count": 3,
    }


def _map(random: Any, labels: Any, predicted: Any, classes: int) -> dict[str, Any]:
    centers = random.normal(0, 8, (classes, 2))
    chosen = range(min(len(labels), 1500))
    places = [centers[labels[index]] + random.normal(0, 1.5, 2) for index in chosen]
    points = [[*map(float, place), int(labels[i]), int(predicted[i])] for i, place in zip(chosen, places, strict=True)]
    return {"method": "pca", "points": points}
