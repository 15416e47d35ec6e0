"""The images of `ppzoo train --arch NAME --data FOLDER`: class folders, train and val folders, or list files.

Where the data has no validation part, a stratified split is written as list files into the output folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ppzoo import config as configuration
from ppzoo import data
from ppzoo.config import ComponentSpec
from ppzoo.data.transforms.decode import open_image
from ppzoo.errors import ConfigError, DataError, OutputError, errors_with_fixes, errors_with_key
from ppzoo.files import (
    ARCHIVE_SUFFIXES,
    describe_absence,
    local_path,
    make_folder,
    require_readable,
    write_atomically,
)

logger = logging.getLogger("ppzoo")

TRAIN_FOLDERS = ("train", "training")
EVAL_FOLDERS = ("val", "valid", "validation", "eval", "evaluation", "test", "testing")
EVAL_LISTS = (data.VAL_LIST, "test_list.txt")
EVAL_SHARE, SPLIT_SEED = 0.2, 0
MEASURED_IMAGES = 100  # for the median size


class Photos(NamedTuple):
    """Training and evaluation data, each a dataset without transforms.

    Attributes:
        eval: None where the data has no validation part.
        images: number of training images; without a validation part, the number after the split.
        class_num: number of classes.
        short_side: median length of the short sides of some images, in pixels; None if it is unknown.
    """

    train: ComponentSpec
    eval: ComponentSpec | None
    images: int
    class_num: int
    short_side: int | None = None


def find_photos(source: str) -> Photos:
    """Return the training data, and the evaluation data if there is any, in a folder or next to a list file.

    Raises:
        ConfigError: there is no such folder or list file.
        DataError: images or lists that cannot be used.
    """
    path = local_path(source, "--data")
    if path.suffix.lower() in data.IMAGE_SUFFIXES:
        raise ConfigError(f"--data: expected a folder of images or a list file, got the image {source}")
    if os.path.isfile(path) and source.lower().endswith(ARCHIVE_SUFFIXES):
        raise ConfigError(f"--data: expected a folder of images or a list file, got the archive {source}: extract it")
    if os.path.isdir(path):
        require_readable(path, "--data")
    if os.path.isfile(path):
        train, evaluation = _lists(path.parent, path)
    elif not os.path.isdir(path):
        raise ConfigError(
            f"--data: expected a folder of images or a list file, got {source!r}, which {describe_absence(path)}"
            f"{configuration.suggest_path(path, suffix=None)}"
        )
    elif os.path.isfile(path / data.TRAIN_LIST):
        train, evaluation = _lists(path, path / data.TRAIN_LIST)
    elif os.path.isfile(path / data.DESCRIPTION):
        raise ConfigError(f"--data: {source} has the folds of a cross-validation: add --fold all, or --fold 1")
    else:
        train, evaluation = _folders(path)
    dataset = _build(train)
    if len(set(dataset.labels.tolist())) < 2:
        raise DataError(f"--data: expected images of two classes or more, got one class in {source}")
    count = len(dataset) if evaluation else len(dataset) - round(EVAL_SHARE * len(dataset))
    classes = len(dataset.classes or []) or int(dataset.labels.max()) + 1
    return Photos(train, evaluation, count, classes, _median_short_side(dataset))


def _median_short_side(dataset: data.ImageFolder | data.ImageNetDataset) -> int | None:
    """Return the median length of the short sides of some images; None if none of them can be read."""
    sides = []
    for index in range(0, len(dataset), max(len(dataset) // MEASURED_IMAGES, 1)):
        with suppress(DataError), open_image(dataset[index][0]) as image:
            sides.append(min(image.size))
    return round(statistics.median(sides)) if sides else None


def _lists(root: Path, train_list: Path) -> tuple[ComponentSpec, ComponentSpec | None]:
    """Return the dataset of a list file; if that is `train_list.txt`, also that of an evaluation list in its folder."""
    folds = root.parent  # if `root` is a fold of `ppzoo data split --folds`, whose paths are relative to `image_root`
    is_fold = data.FOLD.fullmatch(root.name) and os.path.isfile(folds / data.DESCRIPTION)
    image_root = data.read_folds(folds).image_root if is_fold else str(root)
    train = _list_dataset(image_root, train_list)
    found = next((root / name for name in EVAL_LISTS if os.path.isfile(root / name)), None)
    return train, _list_dataset(image_root, found) if found and train_list.name == data.TRAIN_LIST else None


def _folders(root: Path) -> tuple[ComponentSpec, ComponentSpec | None]:
    """Return the dataset of a folder of class folders, or those of its train and val folders if it has both."""
    folders = {entry.name.lower(): entry for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != "."}
    train = next((folders[name] for name in TRAIN_FOLDERS if name in folders), None)
    evaluation = next((folders[name] for name in EVAL_FOLDERS if name in folders), None)
    if train and evaluation:
        return _class_folders(train.path), _class_folders(evaluation.path)
    return _class_folders(train.path if train and len(folders) == 1 else str(root)), None


def _class_folders(root: str) -> ComponentSpec:
    return ComponentSpec("ImageFolder", {"image_root": root})


def _list_dataset(image_root: str, list_file: Path) -> ComponentSpec:
    return ComponentSpec("ImageNetDataset", {"image_root": image_root, "cls_label_path": str(list_file)})


def _build(dataset: ComponentSpec) -> data.ImageFolder | data.ImageNetDataset:
    with errors_with_key("--data"), errors_with_fixes(data.FIXES_WITHOUT_CONFIG):
        return data.DATASETS[dataset.name](**dataset.options)


def write_split(photos: Photos, source: str, output_dir: Path, undo: ExitStack) -> Photos:
    """Split the training data and return both parts, as list files in a folder that is named after their content.

    The lists of an earlier split are therefore never changed, and the same data uses the same lists.

    Args:
        source: the value of --data, whose last part is the beginning of the folder's name.
        undo: receives a callback that removes the files and folders that this function creates.
    """
    with tempfile.TemporaryDirectory() as temporary:
        with errors_with_key("--data"), errors_with_fixes(data.FIXES_WITHOUT_CONFIG):
            split = data.write_split(_build(photos.train), Path(temporary), val_fraction=EVAL_SHARE, seed=SPLIT_SEED)
        lists = {file.name: file.read_bytes() for file in sorted(Path(temporary).iterdir())}
    digest = hashlib.sha256(b"\0".join(lists.values())).hexdigest()[:8]
    folder = output_dir / f"{Path(os.path.abspath(source)).stem}-split-{digest}"
    paths = (*(folder / name for name in lists), folder, *folder.parents)
    missing = [path for path in paths if not os.path.exists(path)]
    undo.callback(_remove, missing)
    try:
        make_folder(folder)
        for name, content in lists.items():
            if folder / name in missing:
                write_atomically(folder / name, partial(_write, content))
    except OSError as error:
        raise OutputError(folder, error, "Global.output_dir") from error
    for line in replace(split, folder=folder).text().splitlines():
        logger.info("--data %s: %s", source, line)
    train, evaluation = (
        _list_dataset(photos.train.option("image_root"), folder / name) for name in (data.TRAIN_LIST, data.VAL_LIST)
    )
    return photos._replace(train=train, eval=evaluation, images=sum(split.train))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _remove(paths: Sequence[Path]) -> None:
    """Remove files and empty folders."""
    for path in paths:
        with suppress(OSError):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
