"""The section of a report about its data: images per class, sizes, and training images in the evaluation data."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ppzoo import data
from ppzoo.builders.datasets import build_dataset
from ppzoo.builders.report_sources import EvaluatedNetwork, training_config
from ppzoo.data.transforms.decode import open_image
from ppzoo.errors import DataError
from ppzoo.progress import track
from ppzoo.report import Note, make_note

MAX_MEASURED = 1000  # images whose size is read
MAX_SIZES = 50  # sizes in the report
MAX_COMPARED = 200_000  # with more training and evaluation images, duplicates are not searched
MAX_COMPARED_BYTES = 1 << 29  # if more bytes would have to be read, duplicates are not searched
MAX_DUPLICATES = 100  # pairs in the report


def describe_report_data(evaluated: EvaluatedNetwork, notes: list[Note]) -> dict[str, Any]:
    """Return the section `data`; add what could not be computed to `notes`."""
    evaluation = evaluated.samples.dataset
    training = _training_data(evaluated, notes)
    pairs = _shared_images(training, evaluation, notes) if training else None
    sizes, measured = _sizes(evaluation, notes)
    return {
        "train": training and _counts(training, len(evaluated.classes)),
        "eval": _counts(evaluation, len(evaluated.classes)),
        "sizes": sizes or None,
        "measured": measured,
        "duplicates": [
            {"train": training.describe(one), "eval": evaluation.describe(other)}
            for one, other in (pairs or [])[:MAX_DUPLICATES]
        ]
        if training and pairs is not None
        else None,
        "duplicate_count": None if pairs is None else len(pairs),
    }


def _training_data(evaluated: EvaluatedNetwork, notes: list[Note]) -> data.Dataset | None:
    section, config = training_config(evaluated), evaluated.config
    if section is None or config is None:
        if config:
            notes.append(make_note("no_training_data"))
        return None
    try:
        return build_dataset(section, None, config.Global.class_names)
    except DataError as error:
        notes.append(make_note("unreadable_training_data", reason=str(error)))
        return None


def _counts(dataset: data.Dataset, class_num: int) -> dict[str, Any]:
    """Return the number of images, and the number of images of each class (with several labels: whose label is 1)."""
    labels = np.asarray(dataset.labels)
    per_class = (labels == 1).sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=class_num)
    return {"images": len(dataset), "per_class": per_class[:class_num].tolist()}


def _sizes(dataset: data.Dataset, notes: list[Note]) -> tuple[list[list[int]], int]:
    """Return (width, height, count) of the most frequent sizes of evenly spaced images, and how many were read."""
    stride = -(-len(dataset) // MAX_MEASURED)
    if stride > 1:
        notes.append(make_note("sizes_part", read=len(range(0, len(dataset), stride)), images=len(dataset)))
    sizes: Counter[tuple[int, int]] = Counter()
    indices = range(0, len(dataset), stride)
    for index in track(indices, len(indices), "reading image sizes"):
        try:
            sizes[_size(dataset[index][0])] += 1
        except DataError:  # the evaluation has reported it
            continue
    return [[width, height, count] for (width, height), count in sizes.most_common(MAX_SIZES)], sizes.total()


def _size(source: bytes | np.ndarray) -> tuple[int, int]:
    if isinstance(source, np.ndarray):
        return source.shape[1], source.shape[0]
    with open_image(source) as image:
        return image.size


def _shared_images(training: data.Dataset, evaluation: data.Dataset, notes: list[Note]) -> list[tuple[int, int]] | None:
    pairs = None
    if len(training) + len(evaluation) <= MAX_COMPARED:
        pairs = data.find_shared_images(training, evaluation, max_bytes=MAX_COMPARED_BYTES)
    if pairs is None:
        notes.append(make_note("duplicates_not_searched"))
    return pairs
