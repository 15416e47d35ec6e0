"""Splitting images into folds for cross-validation, with an optional test part, by classes and groups."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppzoo.data.datasets import ImageFolder, ImageNetDataset
from ppzoo.data.fold_groups import assign_parts, merge_groups
from ppzoo.data.label_files import LABEL_LIST
from ppzoo.data.split import TRAIN_LIST, VAL_LIST, find_copies, require_listable, write_list
from ppzoo.errors import ConfigError, OutputError, count_text
from ppzoo.files import describe_absence, make_folder, read_plain_file, temporary_files, write_text

TEST_LIST = "test_list.txt"
DESCRIPTION = "split.json"
FOLD = re.compile(r"fold_([1-9][0-9]*)")
MAX_SHOWN = 10


@dataclass(frozen=True)
class Folds:
    """Images that were split into folds.

    Attributes:
        folder: folder of the lists.
        classes: names of the classes.
        val: for each fold, the number of validation images of each class.
        test: number of test images of each class; None without a test list.
        groups: number of groups; None if images were not grouped.
    """

    folder: Path
    classes: list[str]
    val: list[list[int]]
    test: list[int] | None
    groups: int | None

    def text(self) -> str:
        """Return a summary of a few lines."""
        total = sum(map(sum, self.val))
        groups = f" in {count_text(self.groups, 'group')}" if self.groups is not None else ""
        images = total + sum(self.test or ())
        lines = [f"{count_text(len(self.classes), 'class')}, {images} images{groups}"]
        for number, counts in enumerate(self.val, start=1):
            val = sum(counts)
            lines.append(f"{self.folder / f'fold_{number}'}: {total - val} training images, {val} validation images")
            missing = [
                name
                for name, count, all_counts in zip(self.classes, counts, zip(*self.val, strict=True), strict=True)
                if not count and sum(all_counts)
            ]
            if missing:
                more = f" and {len(missing) - MAX_SHOWN} more" if len(missing) > MAX_SHOWN else ""
                lines.append(f"  no validation images of {', '.join(missing[:MAX_SHOWN])}{more}: too few groups")
        if self.test is not None:
            lines.append(f"{self.folder / TEST_LIST}: {sum(self.test)} test images, which are in no fold")
        return "\n".join(lines)


class FoldsFolder(NamedTuple):
    """A folder that `write_folds` wrote: the number of folds, and the folder that the paths are relative to."""

    folder: Path
    image_root: str
    folds: int

    def lists(self, number: int) -> tuple[Path, Path]:
        """Return the training and the validation list of fold `number`; folds are numbered from 1."""
        fold = self.folder / f"fold_{number}"
        return fold / TRAIN_LIST, fold / VAL_LIST


def write_folds(
    data: ImageFolder | ImageNetDataset,
    folder: Path,
    *,
    folds: int,
    test_fraction: float | None = None,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    workers: int | None = None,
) -> Folds:
    """Write `fold_1/train_list.txt`, `fold_1/val_list.txt`, ... and, with `test_fraction`, `test_list.txt`.

    Each image that is not in the test list is in the validation list of one fold. Files of equal content belong to one
    group. `split.json`, which describes the split, is written last: without it a folder is not complete.

    Args:
        folds: number of folds.
        test_fraction: fraction of the images that are put into the test list and into no fold.
        groups: the group of each image; all images of a group are in the same validation list or in the test list.
        overwrite: replace the lists of an earlier split.
        workers: number of threads that compare files; None: one per processor.

    Raises:
        ConfigError: fewer than two folds, or more than there are groups or images of a class; a fraction or seed out of
            range; or an output folder with other files, or with an earlier split and without `overwrite`.
        DataError: files that cannot be read, or names that a list cannot contain.
    """
    if folds < 2:
        raise ConfigError(f"--folds: expected 2 or more, got {folds}")
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise ConfigError(f"--test: expected a number above 0 and below 1, got {test_fraction:g}")
    if seed < 0:
        raise ConfigError(f"--seed: expected an integer of at least 0, got {seed}")
    require_free(folder, overwrite=overwrite)
    names = data.classes or [str(label) for label in range(data.labels.max() + 1)]
    _require_images(Counter(data.labels.tolist()), names, folds, "")
    if groups is not None:
        _require_groups(groups, folds, test_fraction)
    paths = [require_listable(data.index.path(index)) for index in range(len(data))]
    duplicates = find_copies(data, workers=workers)
    merged = merge_groups(list(range(len(data))) if groups is None else groups, duplicates)

    test_share = test_fraction or 0.0
    shares = [*([test_share] if test_fraction is not None else []), *[(1 - test_share) / folds] * folds]
    parts = assign_parts(data.labels, merged, shares, seed)
    if test_fraction is None:
        parts = parts + 1  # part 0 is the test list
    _require_full(parts, data.labels, names, folds, test_fraction)

    lines = [f"{path} {label}\n" for path, label in zip(paths, data.labels.tolist(), strict=True)]
    description = {
        "image_root": os.path.relpath(os.path.realpath(data.image_root), os.path.realpath(folder)),
        "folds": folds,
        "test": test_fraction,
        "grouped": groups is not None,
        "seed": seed,
    }
    try:
        _write_lists(folder, lines, parts, folds, data.classes, has_test=test_fraction is not None)
        write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise OutputError(folder, error, "--output") from error
    counts = [np.bincount(data.labels[parts == part], minlength=len(names)).tolist() for part in range(folds + 1)]
    group_count = None if groups is None else len(set(groups))
    return Folds(folder, names, counts[1:], counts[0] if test_fraction is not None else None, group_count)


def read_folds(folder: Path) -> FoldsFolder:
    """Read the description of a folder that `write_folds` wrote.

    Raises:
        ConfigError: `write_folds` did not write the folder, or the folder is not complete, or the folder of the images
            is missing.
    """
    file = folder / DESCRIPTION
    expected = f"expected the folder that `ppzoo data split --folds` wrote, got {str(folder)!r}"
    if not os.path.isdir(folder):
        raise ConfigError(f"{expected}, which {'is a file' if os.path.isfile(folder) else describe_absence(folder)}")
    try:
        description: Any = json.loads(read_plain_file(file))
    except FileNotFoundError as error:
        raise ConfigError(f"{expected}, which has no {DESCRIPTION}") from error
    except OSError as error:
        raise ConfigError(f"{expected}, whose {DESCRIPTION} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{expected}, whose {DESCRIPTION} cannot be read: split the images again") from error
    root, count = (description.get(key) if isinstance(description, dict) else None for key in ("image_root", "folds"))
    if not isinstance(root, str) or "\0" in root or type(count) is not int or count < 2:
        raise ConfigError(f"{expected}, whose {DESCRIPTION} lacks image_root or folds: split the images again")
    image_root = os.path.realpath(os.path.join(os.path.realpath(folder), root))
    if not os.path.isdir(image_root):
        raise ConfigError(f"{file}: expected the folder of the images at {image_root!r}: correct image_root")
    found = FoldsFolder(folder, image_root, count)
    for number in range(1, count + 1):
        for path in found.lists(number):
            if not os.path.isfile(path):
                raise ConfigError(f"{expected}, in which {path} is missing: split the images again")
    return found


def _require_groups(groups: Sequence[str], folds: int, test_fraction: float | None) -> None:
    count, needed = len(set(groups)), folds + (test_fraction is not None)
    if count < needed:
        test = " and one for --test" if test_fraction is not None else ""
        raise ConfigError(f"--folds: expected at least {folds} groups{test}, got {count}: use fewer folds")


def _require_images(counts: Mapping[int, int], names: Sequence[str], folds: int, where: str) -> None:
    """Check that each class has at least one image for each fold; `counts` has the classes that have images."""
    few = [label for label, count in counts.items() if count < folds]
    if few:
        more = f" (and too few of {count_text(len(few) - 1, 'other class')})" if len(few) > 1 else ""
        raise ConfigError(
            f"--folds: expected at least {folds} images of each class{where}, got"
            f" {counts[few[0]]} of {names[few[0]]!r}{more}: use fewer folds or add images"
        )


def _require_full(
    parts: np.ndarray, labels: np.ndarray, names: Sequence[str], folds: int, test_fraction: float | None
) -> None:
    """Check that no part is empty, and that enough images of each class are left for the folds."""
    sizes = np.bincount(parts, minlength=folds + 1)
    if test_fraction is not None and not sizes[0]:
        raise ConfigError(
            f"--test: expected a fraction of at least one image or group, got {test_fraction:g}: use a larger fraction"
        )
    if test_fraction is not None:
        used = np.unique(labels)
        in_folds = np.bincount(labels[parts > 0], minlength=len(names))
        _require_images({int(label): int(in_folds[label]) for label in used}, names, folds, " outside the test list")
    if not sizes[1:].all():
        raise ConfigError(f"--folds: expected at least {folds} groups of different images, got fewer: use fewer folds")


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Check that lists can be written into `folder`: it has no files, or with `overwrite` only an earlier split.

    Raises:
        ConfigError: `folder` is a file, or has files that would be mixed with the lists or replaced.
    """
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder):
        raise ConfigError(f"--output: expected a folder, got the file {str(folder)!r}")
    allowed = {TEST_LIST, LABEL_LIST, DESCRIPTION, *(file.name for file in temporary_files(folder))}
    other = [path for path in sorted(folder.iterdir()) if path.name not in allowed and not _is_fold(path)]
    if other:
        raise ConfigError(f"--output: expected an empty folder, got {str(folder)!r} with other files ({other[0].name})")
    if not overwrite and any(folder.iterdir()):
        raise ConfigError(f"--output: {str(folder)!r} has an earlier split: remove it, or use --overwrite")


def _is_fold(path: Path) -> bool:
    """Whether a path is the folder of a fold, and contains nothing but lists."""
    if not FOLD.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    allowed = {TRAIN_LIST, VAL_LIST, LABEL_LIST, *(file.name for file in temporary_files(path))}
    return all(file.name in allowed for file in path.iterdir())


def _write_lists(
    folder: Path, lines: Sequence[str], parts: np.ndarray, folds: int, classes: Sequence[str] | None, *, has_test: bool
) -> None:
    """Remove the lists of an earlier split, its description first, and write all lists."""
    make_folder(folder)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name in (TEST_LIST, LABEL_LIST) or path in temporary_files(folder):
            path.unlink()
        else:
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    labels = [f"{index} {name}\n" for index, name in enumerate(classes or ())]
    part_of = parts.tolist()
    for number in range(1, folds + 1):
        fold = folder / f"fold_{number}"
        make_folder(fold)
        write_list(
            fold / TRAIN_LIST, [line for line, part in zip(lines, part_of, strict=True) if part not in (0, number)]
        )
        write_list(fold / VAL_LIST, [line for line, part in zip(lines, part_of, strict=True) if part == number])
        if labels:
            write_list(fold / LABEL_LIST, labels)
    if has_test:
        write_list(folder / TEST_LIST, [line for line, part in zip(lines, part_of, strict=True) if part == 0])
    if labels:
        write_list(folder / LABEL_LIST, labels)
