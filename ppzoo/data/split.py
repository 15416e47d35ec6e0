"""Splitting a folder of class folders into PaddleClas's list files for training and validation."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppzoo.data.datasets import ImageFolder, ImageNetDataset, describe_skipped
from ppzoo.data.duplicates import find_duplicate_files
from ppzoo.data.label_files import LABEL_LIST
from ppzoo.errors import ConfigError, DataError, count_text
from ppzoo.files import is_utf8, make_folder, write_atomically

TRAIN_LIST, VAL_LIST = "train_list.txt", "val_list.txt"


@dataclass(frozen=True)
class Split:
    """The result of splitting a folder.

    Attributes:
        folder: folder of the list files.
        files: names of the list files; `label_list.txt` is one of them if the classes have names.
        classes: names of the classes.
        train, val: number of images of each class in the training and validation lists.
        duplicates: groups of files with equal content; all files of a group are in the same list.
        conflicts: the groups of `duplicates` whose files are in different classes.
        skipped: extension -> number of files in class folders that were skipped because of their extension.
    """

    folder: Path
    files: list[str]
    classes: list[str]
    train: list[int]
    val: list[int]
    duplicates: list[list[str]]
    conflicts: list[list[str]]
    skipped: Counter[str]

    def text(self) -> str:
        """Return a summary of a few lines."""
        lines = [
            f"{count_text(len(self.classes), 'class')}: {count_text(sum(self.train), 'training image')},"
            f" {count_text(sum(self.val), 'validation image')}",
            f"wrote {', '.join(self.files)} to {self.folder}",
        ]
        if self.skipped:
            lines.append(describe_skipped(self.skipped))
        if self.duplicates:
            files, images = sum(map(len, self.duplicates)), count_text(len(self.duplicates), "image")
            lines.append(f"{files} files are copies of {images}; copies are in the same list")
        lines += [f"the same image in different classes: {', '.join(group)}" for group in self.conflicts[:10]]
        if len(self.conflicts) > 10:
            lines.append(f"... and {len(self.conflicts) - 10} more images in different classes")
        return "\n".join(lines)


def split_folder(
    folder: str | Path, *, val_fraction: float = 0.2, seed: int = 0, overwrite: bool = False, workers: int | None = None
) -> Split:
    """Write `train_list.txt`, `val_list.txt` and `label_list.txt` into a folder of class folders.

    The split is stratified: `val_fraction` of each class is drawn at random for validation; a class of two or more
    images has at least one in each list. Files of equal content always go to the same list, so that no validation image
    was trained on; the validation list then has fewer images of a class, or none, if its fraction cannot be met.

    Args:
        val_fraction: fraction of each class for validation, above 0 and below 1.
        seed: seed of the random draw.
        overwrite: replace existing lists.
        workers: number of threads that compare files; None: one per processor.

    Raises:
        ConfigError: a fraction or seed out of its range.
        DataError: no class folders, existing lists, file names that a list cannot contain, or no class with two
            different images.
    """
    if not 0 < val_fraction < 1:
        raise ConfigError(f"val_fraction: expected a number above 0 and below 1, got {val_fraction!r}")
    if seed < 0:
        raise ConfigError(f"seed: expected 0 or more, got {seed}")
    root = Path(folder)
    data = ImageFolder(image_root=str(folder))
    if not overwrite:
        for name in (TRAIN_LIST, VAL_LIST, LABEL_LIST):
            if os.path.exists(root / name):
                raise DataError(f"{root / name} exists: remove it, or use --overwrite")
    return write_split(data, root, val_fraction=val_fraction, seed=seed, workers=workers)


def write_split(
    data: ImageFolder | ImageNetDataset, root: Path, *, val_fraction: float, seed: int, workers: int | None = None
) -> Split:
    """Split a dataset as `split_folder` does, and write the lists into the folder `root`.

    Without class names there is no `label_list.txt`.

    Raises:
        DataError: file names that a list cannot contain, or no class has two different images.
    """
    paths = [require_listable(data.index.path(index)) for index in range(len(data))]
    duplicates = find_copies(data, workers=workers)
    is_val = draw_validation_samples(data.labels, duplicates, val_fraction, seed)
    if not is_val.any():
        raise DataError(
            f"cannot split {count_text(len(data), 'image')}: expected a class with two images that are not copies of"
            " each other, found none; add images"
        )

    make_folder(root)
    lines = [f"{path} {label}\n" for path, label in zip(paths, data.labels, strict=True)]
    write_list(root / TRAIN_LIST, [line for line, chosen in zip(lines, is_val, strict=True) if not chosen])
    write_list(root / VAL_LIST, [line for line, chosen in zip(lines, is_val, strict=True) if chosen])
    files = [TRAIN_LIST, VAL_LIST]
    if data.classes:
        files.append(LABEL_LIST)
        write_list(root / LABEL_LIST, [f"{index} {name}\n" for index, name in enumerate(data.classes)])
    class_names = data.classes or [str(label) for label in range(data.labels.max() + 1)]
    count = len(class_names)
    duplicate_paths = [[paths[index] for index in group] for group in duplicates]
    return Split(
        root,
        files,
        class_names,
        np.bincount(data.labels[~is_val], minlength=count).tolist(),
        np.bincount(data.labels[is_val], minlength=count).tolist(),
        duplicate_paths,
        [names for names, group in zip(duplicate_paths, duplicates, strict=True) if len(set(data.labels[group])) > 1],
        data.skipped if isinstance(data, ImageFolder) else Counter(),
    )


def find_copies(data: ImageFolder | ImageNetDataset, *, workers: int | None = None) -> list[list[int]]:
    """Return groups of two or more samples whose files have equal content.

    Raises:
        DataError: a file cannot be read; for a list, the error names the line.
    """
    try:
        return find_duplicate_files([data.describe(index) for index in range(len(data))], workers=workers)
    except DataError:
        for index in range(len(data) if isinstance(data, ImageNetDataset) else 0):
            data.require_file(index)
        raise


def draw_validation_samples(
    labels: np.ndarray, duplicates: list[list[int]], val_fraction: float, seed: int
) -> np.ndarray:
    """Return a boolean per sample: whether it is for validation. A group of duplicates is drawn together."""
    totals = np.bincount(labels)
    remaining = np.where(totals > 1, np.clip(np.rint(totals * val_fraction), 1, np.maximum(totals - 1, 1)), 0)
    grouped = {index for group in duplicates for index in group}
    groups = [[index] for index in range(len(labels)) if index not in grouped] + duplicates
    is_val = np.zeros(len(labels), bool)
    for number in np.random.default_rng(seed).permutation(len(groups)):
        counts = np.bincount(labels[groups[number]], minlength=len(remaining))
        if (counts <= remaining).all():
            is_val[groups[number]] = True
            remaining = remaining - counts
    return is_val


def require_listable(path: str) -> str:
    """Return the path if a list file can contain it.

    Raises:
        DataError: a list file cannot contain it.
    """
    if not is_utf8(path):
        raise DataError(f"expected a UTF-8 file name, as list files are UTF-8, got {path!r}: rename the file")
    if path != path.strip(" \t\r") or "\n" in path:
        raise DataError(
            "expected a file name without leading or trailing spaces and without line ends, which list files cannot"
            f" contain, got {path!r}: rename the file"
        )
    return path


def write_list(path: Path, lines: list[str]) -> None:
    """Write the lines of a list file."""
    write_atomically(path, lambda file: file.write("".join(lines).encode(errors="surrogateescape")))
