"""From a folder of class folders to PaddleClas's lists: what trains, what evaluates, and the names of the classes."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppzoo.data.datasets import ImageFolder, ImageNetDataset, skipped_text
from ppzoo.data.fingerprint import equal_files
from ppzoo.data.label_files import LABEL_LIST
from ppzoo.errors import ConfigError, DataError
from ppzoo.files import is_utf8, write_atomically

TRAIN_LIST, VAL_LIST = "train_list.txt", "val_list.txt"


@dataclass(frozen=True)
class Split:
    """How the images of a folder were divided.

    Attributes:
        folder: where the lists are.
        classes: names of the classes.
        train, val: number of images of each class.
        duplicates: groups of files with equal content, of which each is on one side as a whole.
        conflicts: those groups whose files are in different classes.
        skipped: number of files in class folders that were skipped for their extension, by extension.
    """

    folder: Path
    classes: list[str]
    train: list[int]
    val: list[int]
    duplicates: list[list[str]]
    conflicts: list[list[str]]
    skipped: Counter[str]

    def text(self) -> str:
        """A few lines about it."""
        lines = [
            f"{len(self.classes)} classes: {sum(self.train)} images to train, {sum(self.val)} to evaluate",
            f"{self.folder}: {TRAIN_LIST}, {VAL_LIST}, {LABEL_LIST}",
        ]
        if self.skipped:
            lines.append(skipped_text(self.skipped))
        if self.duplicates:
            files = sum(map(len, self.duplicates))
            lines.append(f"{files} files are {len(self.duplicates)} contents; equal ones were kept on one side")
        lines += [f"the same image in different classes: {', '.join(group)}" for group in self.conflicts[:10]]
        if len(self.conflicts) > 10:
            lines.append(f"... and {len(self.conflicts) - 10} more images in different classes")
        return "\n".join(lines)


def split_folder(
    folder: str | Path, *, val_fraction: float = 0.2, seed: int = 0, overwrite: bool = False, workers: int | None = None
) -> Split:
    """Write `train_list.txt`, `val_list.txt` and `label_list.txt` into a folder of class folders.

    Each class gives its share to the evaluation, by a random draw that the seed decides; a class of two images or more
    has at least one on either side. Files of equal content stay on one side, as far as that leaves the shares
    possible, so that nothing is evaluated that was trained on.

    Args:
        val_fraction: share of each class to evaluate, above 0 and below 1.
        seed: decides the draw.
        overwrite: replace lists that are there.
        workers: threads that compare files; None: one a processor.

    Raises:
        ConfigError: a share or seed out of its range.
        DataError: no class folders, lists that exist, or names that a list cannot hold.
    """
    if not 0 < val_fraction < 1:
        raise ConfigError(f"expected a share to evaluate above 0 and below 1, got {val_fraction!r}")
    if seed < 0:
        raise ConfigError(f"seed: expected a number from 0 on, got {seed}")
    root = Path(folder)
    data = ImageFolder(image_root=str(folder))
    if not overwrite:
        for name in (TRAIN_LIST, VAL_LIST, LABEL_LIST):
            if os.path.exists(root / name):
                raise DataError(f"{root / name} exists: remove it, or overwrite it (--overwrite)")
    return write_split(data, root, val_fraction=val_fraction, seed=seed, workers=workers)


def write_split(
    data: ImageFolder | ImageNetDataset, root: Path, *, val_fraction: float, seed: int, workers: int | None = None
) -> Split:
    """Split a dataset as `split_folder` does, and write the lists into the folder `root`.

    Without class names there is no `label_list.txt`.

    Raises:
        DataError: names of files that a list cannot hold.
    """
    paths = [_listable(data.index.path(index)) for index in range(len(data))]
    duplicates = equal_files([data.describe(index) for index in range(len(data))], workers=workers)
    evaluates = draw(data.labels, duplicates, val_fraction, seed)

    lines = [f"{path} {label}\n" for path, label in zip(paths, data.labels, strict=True)]
    _write(root / TRAIN_LIST, [line for line, chosen in zip(lines, evaluates, strict=True) if not chosen])
    _write(root / VAL_LIST, [line for line, chosen in zip(lines, evaluates, strict=True) if chosen])
    if data.classes:
        _write(root / LABEL_LIST, [f"{index} {name}\n" for index, name in enumerate(data.classes)])
    names = data.classes or [str(label) for label in range(data.labels.max() + 1)]
    count = len(names)
    named = [[paths[index] for index in group] for group in duplicates]
    return Split(
        root,
        names,
        np.bincount(data.labels[~evaluates], minlength=count).tolist(),
        np.bincount(data.labels[evaluates], minlength=count).tolist(),
        named,
        [names for names, group in zip(named, duplicates, strict=True) if len(set(data.labels[group])) > 1],
        data.skipped if isinstance(data, ImageFolder) else Counter(),
    )


def draw(labels: np.ndarray, duplicates: list[list[int]], val_fraction: float, seed: int) -> np.ndarray:
    """Which samples evaluate, as booleans; the samples of a group of duplicates go together."""
    totals = np.bincount(labels)
    wanted = np.where(totals > 1, np.clip(np.rint(totals * val_fraction), 1, np.maximum(totals - 1, 1)), 0)
    grouped = {index for group in duplicates for index in group}
    groups = [[index] for index in range(len(labels)) if index not in grouped] + duplicates
    evaluates = np.zeros(len(labels), bool)
    for number in np.random.default_rng(seed).permutation(len(groups)):
        counts = np.bincount(labels[groups[number]], minlength=len(wanted))
        if (counts <= wanted).all():
            evaluates[groups[number]] = True
            wanted = wanted - counts
    return evaluates


def _listable(path: str) -> str:
    """A path that a list file can hold."""
    if not is_utf8(path):
        raise DataError(f"the name {path!r} is not UTF-8, which list files are: rename the file")
    if path != path.strip(" \t\r") or "\n" in path:
        raise DataError(f"the name {path!r} begins with a blank or has an end of line, which no list can hold: rename")
    return path


def _write(path: Path, lines: list[str]) -> None:
    write_atomically(path, lambda file: file.write("".join(lines).encode(errors="surrogateescape")))
