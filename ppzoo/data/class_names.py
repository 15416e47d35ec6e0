"""Classes matched by name: the labels of one dataset as those of the network that was trained on another.

Two names are the same where they are equal in Unicode's normal form NFC: file systems store "é" as one character or as
two. Upper and lower case differ.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from ppzoo.data.datasets import Dataset
from ppzoo.errors import DataError, suggestion

SHOWN = 10


def normalized(names: Sequence[str]) -> list[str]:
    """The names in the form in which they are compared."""
    return [unicodedata.normalize("NFC", name) for name in names]


def listing(names: Sequence[object]) -> str:
    """The names, of many the first few and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more


class RenumberedDataset:
    """A dataset whose labels are those of other classes.

    Args:
        dataset: one label per image.
        labels: what its labels become, by index.
        classes: the names of the new labels.
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


def match_classes(dataset: Dataset, classes: Sequence[str], fix: str = "rename or remove it") -> Dataset:
    """`dataset` with the labels that its classes have in `classes`, the network's, of which it may lack some.

    Args:
        fix: what an error says to do about a class that is not among them.

    Raises:
        DataError: an image is of a class that is not among them, or whose name two of them have.
    """
    assert dataset.classes is not None
    own, known = normalized(dataset.classes), normalized(classes)
    if own == known:
        return dataset
    places = {name: index for index, name in enumerate(known)}
    used = np.unique(dataset.labels).tolist()
    unknown = [dataset.classes[label] for label in used if own[label] not in places]
    if unknown:
        raise DataError(
            f"unknown class{'es' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown[:SHOWN]))}"
            f"{_nearest(unknown, classes)}; the classes of the training are {listing(classes)}: {fix}"
        )
    for label in used:
        if known.count(own[label]) > 1:
            raise DataError(f"the class {own[label]!r} is two classes of the training: give each a name of its own")
    numbers = np.array([places.get(name, -1) for name in own])
    return RenumberedDataset(dataset, numbers[dataset.labels], list(classes))


def _nearest(unknown: Sequence[str], classes: Sequence[str]) -> str:
    near = suggestion(unknown[0], classes)
    return f" ({near.removeprefix('; ')})" if len(unknown) == 1 and "did you mean" in near else ""
