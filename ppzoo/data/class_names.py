"""Matching the classes of a dataset by name with those that a network was trained on.

Names are compared in Unicode normal form NFC, because file systems store "é" as one character or as two. The comparison
is case-sensitive.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from ppzoo.data.datasets import Dataset, FileDataset, SourceVersion
from ppzoo.errors import DataError, suggestion

MAX_SHOWN_NAMES = 10


def normalize_names(names: Sequence[str]) -> list[str]:
    """Return the names in the form in which they are compared (NFC)."""
    return [unicodedata.normalize("NFC", name) for name in names]


def format_names(names: Sequence[object]) -> str:
    """Join the names with commas; of more than `MAX_SHOWN_NAMES`, the first ones and the number of the rest."""
    more = f" and {len(names) - MAX_SHOWN_NAMES} more" if len(names) > MAX_SHOWN_NAMES else ""
    return ", ".join(map(str, names[:MAX_SHOWN_NAMES])) + more


class RelabeledDataset:
    """A dataset with other labels.

    Args:
        dataset: dataset with one label per image.
        labels: (N,) new label of each image.
        classes: names of the classes, by new label.
    """

    def __init__(self, dataset: Dataset, labels: np.ndarray, classes: list[str]) -> None:
        self.dataset, self.labels = dataset, labels
        self.classes: list[str] | None = classes
        self.skipped = getattr(dataset, "skipped", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[bytes | np.ndarray, int | np.ndarray]:
        return self.dataset[index][0], int(self.labels[index])

    def describe(self, index: int) -> str:
        return self.dataset.describe(index)


class RelabeledFiles(RelabeledDataset):
    """A dataset of image files with other labels."""

    dataset: FileDataset

    def version(self, index: int) -> SourceVersion:
        """Return the version of an image's file."""
        return self.dataset.version(index)

    def label(self, index: int) -> int:
        """Return the new label of a sample."""
        return int(self.labels[index])


def match_classes(dataset: Dataset, classes: Sequence[str], fix: str = "rename or remove {it}") -> Dataset:
    """Return `dataset` with new labels: each is the index of the class in `classes`, the classes of the network.

    Not every class of the network needs to occur in the dataset. If both have the same list of classes, `dataset`
    itself is returned.

    Args:
        fix: what an error message recommends for classes that the network does not have; "{it}" is replaced by "it" or
            "them".

    Raises:
        DataError: a class of an image is not among `classes`, or its name occurs there twice.
    """
    assert dataset.classes is not None
    own, trained = normalize_names(dataset.classes), normalize_names(classes)
    if own == trained:
        return dataset
    indices = {name: index for index, name in enumerate(trained)}
    used = np.unique(dataset.labels).tolist()
    unknown = [dataset.classes[label] for label in used if own[label] not in indices]
    if unknown:
        raise DataError(
            f"unknown class{'es' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown[:MAX_SHOWN_NAMES]))}"
            f"{_nearest(unknown, classes)}; the classes of the network are {format_names(classes)}:"
            f" {fix.format(it='them' if len(unknown) > 1 else 'it')}"
        )
    for label in used:
        if trained.count(own[label]) > 1:
            raise DataError(f"the network has two classes named {own[label]!r}: give them different names")
    new_labels = np.array([indices.get(name, -1) for name in own])
    relabeled = RelabeledFiles if isinstance(dataset, FileDataset) else RelabeledDataset
    return relabeled(dataset, new_labels[dataset.labels], list(classes))


def _nearest(unknown: Sequence[str], classes: Sequence[str]) -> str:
    near = suggestion(unknown[0], classes)
    return f" ({near.removeprefix('; ')})" if len(unknown) == 1 and "did you mean" in near else ""
