"""The configuration for an architecture and a folder of images: `ppzoo train --arch NAME --data FOLDER`.

It is `configs/_base_/photos.yaml` with the data, an image size that fits it, and a batch size, number of epochs and
learning rate for the number of images. Where the data has no validation part, a stratified split is written as list
files into the output folder.
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
from typing import Any, BinaryIO, NamedTuple

import paddle

from ppzoo import config as configuration
from ppzoo import data, models, weights
from ppzoo.builders.dry_run import read_config
from ppzoo.builders.models import try_forward
from ppzoo.config import Config
from ppzoo.data.transforms.decode import open_image
from ppzoo.errors import ConfigError, DataError, OutputError, UnknownNameError, WeightsError
from ppzoo.files import local_path, make_folder, write_atomically

logger = logging.getLogger("ppzoo")

BASE = "photos"
TRAIN_FOLDERS = ("train", "training")
EVAL_FOLDERS = ("val", "valid", "validation", "eval", "evaluation", "test", "testing")
EVAL_LISTS = (data.VAL_LIST, "test_list.txt")

EVAL_SHARE, SPLIT_SEED = 0.2, 0
REFERENCE_BATCH = 64  # images per step for which the learning rates below are meant
MIN_STEPS_PER_EPOCH = 15  # where the batch size allows it
BATCH_SIZES = (8, 64)
IMAGE_SIZES = (64, 96, 128, 160, 224)  # for small images, unless official weights are fine-tuned
MEASURED_IMAGES = 100  # for the median size
CROP_RATIO = 0.875  # of the resized image's short side, for architectures without official weights


class _Schedule(NamedTuple):
    """How long to train and how fast: for `steps`, within the limits of `epochs`."""

    steps: int
    epochs: tuple[int, int]
    max_learning_rate: float


FINE_TUNING = _Schedule(1_000, (10, 30), 0.01)
FROM_SCRATCH = _Schedule(3_000, (20, 100), 0.02)
LOSS_AND_METRIC = {"GoogLeNet": ("GoogLeNetLoss", "GoogLeNetTopkAcc")}  # for its three outputs
NO_NORM_DIVISOR = 10  # of the learning rate of architectures without batch normalization


class Photos(NamedTuple):
    """Training and evaluation data, each a section `dataset` without transforms.

    Attributes:
        eval: None where the data has no validation part.
        images: number of training images.
        class_num: number of classes.
        short_side: median length of the images' short sides, in pixels; None if it is unknown.
    """

    train: dict[str, Any]
    eval: dict[str, Any] | None
    images: int
    class_num: int
    short_side: int | None = None


def read_photo_config(arch: str, source: str, overrides: Sequence[str], undo: ExitStack) -> Config:
    """Return the configuration that trains `arch` on the images of `source`, changed by `overrides`.

    Everything is checked before the split is written and official weights are fetched.

    Args:
        source: a folder of class folders, a folder with train and val folders of that kind, a folder with
            `train_list.txt`, or a list file.
        undo: gets what removes the list files that were written.

    Raises:
        ConfigError: an unknown architecture, a path that does not exist, or overrides that do not fit.
        DataError: images or lists that cannot be used.
    """
    if arch not in models.MODELS:
        raise ConfigError(f"--arch: {UnknownNameError('architecture', arch, models.MODELS)}")
    photos = find_photos(source)
    config = read_config(photo_recipe(arch, photos), overrides, "train")
    if photos.eval is None:
        photos = _write_split(photos, source, _output_dir(config), undo)
    pretrained, other_weights = _weights(config)
    if pretrained is None and not other_weights:
        pretrained = _has_official_weights(arch)
    recipe = photo_recipe(
        arch,
        photos,
        pretrained=pretrained,
        fine_tuning=bool(pretrained or other_weights),
        image_size=_requested_size(config, overrides),
    )
    config = read_config(recipe, overrides, "train")
    _log_image_size(config, photos)
    return config


def _requested_size(config: Config, overrides: Sequence[str]) -> int | None:
    """Return the image size if an override sets it."""
    is_set = any(override.startswith("Global.image_shape") for override in overrides)
    return config.Global.image_shape[1] if is_set else None


def _log_image_size(config: Config, photos: Photos) -> None:
    height, width = config.Global.image_shape[1:]
    side = f"the images' median short side is {photos.short_side}; " if photos.short_side else ""
    logger.info("image size: %d x %d pixels (%sGlobal.image_shape overrides it)", height, width, side)


def _output_dir(config: Config) -> Path:
    return local_path(config.Global.output_dir, "Global.output_dir")


def _weights(config: Config) -> tuple[bool | str | None, str | None]:
    """Return `Arch.pretrained`, which is None unless an override sets it, and `Global.pretrained_model`."""
    return config.Arch.pretrained, config.Global.pretrained_model


def photo_recipe(
    arch: str,
    photos: Photos,
    *,
    pretrained: bool | str | None = None,
    fine_tuning: bool = False,
    image_size: int | None = None,
) -> dict[str, Any]:
    """Return the configuration, before overrides, that trains `arch` on `photos`.

    Args:
        pretrained: `Arch.pretrained`.
        fine_tuning: whether training starts from trained weights: it is then shorter, at a lower learning rate.
        image_size: side of the images; by default that of the architecture, or, unless official weights are
            fine-tuned, a smaller size that fits the images.
    """
    variant = models.MODELS[arch]
    network = variant.build(class_num=2)
    official = variant.weights
    usual_size = official.img_size if official else variant.image_shape[1]
    size = image_size or usual_size
    if pretrained is not True and not image_size and photos.short_side:
        size = _fitting_size(arch, network, photos.short_side, usual_size)
    resize = official.resize if official and size == usual_size else {"resize_short": round(size / CROP_RATIO)}
    base = configuration.load(BASE)
    splits, infer = base["DataLoader"], base["Infer"]["transforms"]
    schedule = FINE_TUNING if fine_tuning else FROM_SCRATCH
    batch_size = _batch_size(photos.images)
    epochs = round(schedule.steps / (photos.images // batch_size))
    low, high = schedule.epochs
    evaluation = photos.eval or photos.train  # replaced by the split before training
    topk = [1, 5] if photos.class_num > 5 else [1]
    loss_name, metric_name = LOSS_AND_METRIC.get(arch, ("CELoss", "TopkAcc"))
    metric = [{metric_name: {"topk": topk}}]
    own = {
        "Global": {
            "device": "auto",
            "epochs": min(max(epochs, low), high),
            "image_shape": [3, size, size],
            "save_inference_dir": f"./inference/{arch}",
        },
        "Arch": {"name": arch, "pretrained": pretrained},
        "DataLoader": {
            "Train": {
                "dataset": {**photos.train, "transform_ops": _resized(splits["Train"], size, resize)},
                "sampler": {"batch_size": batch_size},
            },
            "Eval": {"dataset": {**evaluation, "transform_ops": _resized(splits["Eval"], size, resize)}},
        },
        "Infer": {"transforms": _resized_ops(infer, size, resize), "PostProcess": {"topk": min(5, photos.class_num)}},
        "Loss": {"Train": [{loss_name: {"weight": 1.0, "epsilon": 0.1}}], "Eval": [{loss_name: {"weight": 1.0}}]},
        "Metric": {"Train": metric, "Eval": metric},
    }
    merged = configuration.merge(base, own)
    merged["Optimizer"]["lr"] = {
        "name": "OneCycleLR",
        "max_learning_rate": schedule.max_learning_rate / (1 if _has_batch_norm(network) else NO_NORM_DIVISOR),
        "reference_batch": REFERENCE_BATCH,
    }
    return merged


def _resized(split: dict[str, Any], size: int, resize: dict[str, Any]) -> list[dict[str, Any]]:
    return _resized_ops(split["dataset"]["transform_ops"], size, resize)


def _resized_ops(ops: list[dict[str, Any]], size: int, resize: dict[str, Any]) -> list[dict[str, Any]]:
    """Return transforms with the sizes of crops and of resized images replaced."""
    sizes = {"RandCropImage": {"size": size}, "CropImage": {"size": size}}
    return [
        {
            name: resize if name == "ResizeImage" else (options or {}) | sizes.get(name, {})
            for name, options in op.items()
        }
        for op in ops
    ]


def _batch_size(images: int) -> int:
    """Return a power of two that leaves enough steps per epoch; of very few images, their number."""
    low, high = BATCH_SIZES
    fitting = 1 << max(images // MIN_STEPS_PER_EPOCH, 1).bit_length() - 1
    return min(max(fitting, low), high, images)


def _fitting_size(arch: str, network: paddle.nn.Layer, short_side: int, usual_size: int) -> int:
    """Return the smallest image size that is not below `short_side` and that the network can take."""
    for size in IMAGE_SIZES:
        if short_side <= size < usual_size:
            try:
                try_forward(network, paddle.zeros([1, 3, size, size]), arch)
            except ConfigError:  # the first linear layer fixes the image size
                return usual_size
            return size
    return usual_size


def _has_batch_norm(network: paddle.nn.Layer) -> bool:
    return any(name.endswith("._mean") for name in network.state_dict())


def _has_official_weights(arch: str) -> bool:
    """Return whether the official weights are in the cache or can be fetched, and log the result."""
    official = models.MODELS[arch].weights
    try:
        if official is None:
            raise WeightsError(f"there are no official weights of {arch}")
        weights.fetch(official.url, weights.weights_folder(), attempts=1)
    except WeightsError as error:
        logger.info("training from scratch, without pretrained weights: %s", error)
        return False
    logger.info("fine-tuning the official weights of %s", arch)
    return True


# --- data -----------------------------------------------------------------------------------------------------------


def find_photos(source: str) -> Photos:
    """Return the training data, and the evaluation data if there is any, in a folder or next to a list file.

    Raises:
        ConfigError: nothing is there.
        DataError: images or lists that cannot be used.
    """
    path = local_path(source, "--data")
    if path.suffix.lower() in data.IMAGE_SUFFIXES:
        raise ConfigError(f"--data: expected a folder of images or a list file, got the image {source}")
    if os.path.isfile(path):
        train, evaluation = _lists(path.parent, path)
    elif not os.path.isdir(path):
        raise ConfigError(
            f"--data: expected a folder of images or a list file, got {source!r}, which does not exist"
            f"{configuration.suggest_path(path, suffix=None)}"
        )
    elif os.path.isfile(path / data.TRAIN_LIST):
        train, evaluation = _lists(path, path / data.TRAIN_LIST)
    else:
        train, evaluation = _folders(path)
    try:
        dataset = _dataset(train)
    except DataError as error:
        raise DataError(f"--data: {error}") from error
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


def _lists(root: Path, train_list: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the datasets of a list file and of the evaluation list next to `train_list.txt`."""
    found = next((root / name for name in EVAL_LISTS if os.path.isfile(root / name)), None)
    train, evaluation = (
        {"name": "ImageNetDataset", "image_root": str(root), "cls_label_path": str(path)}
        for path in (train_list, found)
    )
    return train, evaluation if found and train_list.name == data.TRAIN_LIST else None


def _folders(root: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the datasets of a folder of class folders, or of one with train and val folders of that kind."""
    folders = {entry.name.lower(): entry for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != "."}
    train = next((folders[name] for name in TRAIN_FOLDERS if name in folders), None)
    evaluation = next((folders[name] for name in EVAL_FOLDERS if name in folders), None)
    if train and evaluation:
        return _class_folders(train.path), _class_folders(evaluation.path)
    return _class_folders(train.path if train and len(folders) == 1 else str(root)), None


def _class_folders(root: str) -> dict[str, Any]:
    return {"name": "ImageFolder", "image_root": root}


def _dataset(section: dict[str, Any]) -> Any:
    return data.DATASETS[section["name"]](**{key: value for key, value in section.items() if key != "name"})


def _write_split(photos: Photos, source: str, output_dir: Path, undo: ExitStack) -> Photos:
    """Split the training data and return both parts, as list files in a folder that is named after their content.

    The lists of an earlier split are therefore never changed, and the same data uses the same lists.
    """
    with tempfile.TemporaryDirectory() as place:
        try:
            split = data.write_split(_dataset(photos.train), Path(place), val_fraction=EVAL_SHARE, seed=SPLIT_SEED)
        except DataError as error:
            raise DataError(f"--data: {error}") from error
        lists = {file.name: file.read_bytes() for file in sorted(Path(place).iterdir())}
    digest = hashlib.sha256(b"\0".join(lists.values())).hexdigest()[:8]
    folder = output_dir / f"{Path(os.path.abspath(source)).stem}-split-{digest}"
    missing = [path for path in (*(folder / name for name in lists), folder, *folder.parents) if not path.exists()]
    undo.callback(_remove, missing)
    try:
        make_folder(folder)
        for name, content in lists.items():
            if folder / name in missing:
                write_atomically(folder / name, partial(_write, content))
    except OSError as error:
        raise OutputError(folder, error) from error
    for line in replace(split, folder=folder).text().splitlines():
        logger.info("--data %s: %s", source, line)
    train, evaluation = (
        {
            "name": "ImageNetDataset",
            "image_root": photos.train["image_root"],
            "cls_label_path": str(folder / name),
        }
        for name in (data.TRAIN_LIST, data.VAL_LIST)
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
