"""How many classes there are and what they are called, where the configuration does not say it.

The names of the training's classes, in order, are `Global.class_names`: training takes them from its data and writes
them into `labels.txt` beside the weights and into `config.yaml`, and what uses the weights takes them from there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo import config as configuration
from ppzoo import data
from ppzoo.builders.components import Section
from ppzoo.builders.models import class_count, inference_arch, members
from ppzoo.builders.parts import build_dataset
from ppzoo.config import Configuration, InferSection, settings
from ppzoo.errors import ConfigError, DataError
from ppzoo.host import MAX_CLASSES

logger = logging.getLogger("ppzoo")

LABELS, RESOLVED = "labels.txt", "config.yaml"
TRAIN_DATA, EVAL_DATA = "DataLoader.Train.dataset", "DataLoader.Eval.dataset"


def with_classes_of_data(config: Section) -> dict[str, Any]:
    """The configuration with `Arch.class_num`: where it has none, as many as its class names or the training data."""
    if "class_num" in inference_arch(config["Arch"]):
        return dict(config)
    names = class_names(config)
    if names:
        return _with_class_num(config, len(names))
    images = build_dataset(config["DataLoader"]["Train"]["dataset"], class_num=None)
    if images.labels.ndim == 2:
        count, source = images.labels.shape[1], "labels of an image"
    elif images.classes:
        more = ", ..." if len(images.classes) > 3 else ""
        count, source = len(images.classes), f"classes ({', '.join(images.classes[:3])}{more})"
    else:
        count, source = int(images.labels.max()) + 1, "classes, by the highest label"
    if count > MAX_CLASSES:
        raise DataError(
            f"Arch.class_num: the training data would have {count} {source}, more than {MAX_CLASSES}:"
            f" {_of_highest_label(images)}; correct that label, or set dataset.relabel, which numbers labels from 0 on"
        )
    logger.info("Arch.class_num: the training data has %d %s", count, source)
    return _with_class_num(config, count)


def with_classes_of_run(config: Section) -> dict[str, Any]:
    """The configuration with the number and the names of the classes, as training left them beside the weights.

    Raises:
        ConfigError: `Global.class_names` are others.
    """
    weights = weights_of(config)
    beside = Path(weights).parent / RESOLVED if weights else None
    of_run = configuration.load(beside) if beside and os.path.isfile(beside) else None
    if of_run and "class_num" not in inference_arch(config["Arch"]):
        config = _with_class_num(config, class_count(of_run))
    names = names_beside(weights) or (class_names(of_run) if of_run else None)
    if names and len(names) > class_count(config):
        raise ConfigError(
            f"Arch.class_num: expected {len(names)}, since {weights} was trained on the classes {data.listing(names)},"
            f" got {class_count(config)}"
        )
    own = class_names(config)
    if names and own and data.normalized(names) != data.normalized(own):
        raise ConfigError(
            f"Global.class_names: expected the classes that {weights} was trained on ({data.listing(names)}), got"
            f" {data.listing(own)}: remove the key or name other weights"
        )
    return with_class_names(config, own or names)


def with_class_names(config: Section, names: Sequence[str] | None) -> dict[str, Any]:
    """The configuration with `Global.class_names`."""
    return {**config, "Global": {**(config.get("Global") or {}), "class_names": list(names)}} if names else dict(config)


def class_names(config: Section) -> list[str] | None:
    """The names of the training's classes, where the configuration has them."""
    return settings(Configuration, config).Global.class_names


def weights_of(config: Section) -> str | None:
    """The path of the weights that a configuration names; None for official ones and for none."""
    source = settings(Configuration, config).Global.pretrained_model or inference_arch(config["Arch"]).get("pretrained")
    return source if isinstance(source, str) else None


def names_beside(weights: str | None) -> list[str] | None:
    """The names of the classes that training left beside its weights."""
    beside = Path(weights).parent / LABELS if weights else None
    if not (beside and os.path.isfile(beside)):
        return None
    labels = data.read_labels(beside)
    return [labels.get(index, str(index)) for index in range(max(labels) + 1)]


def starting_names(config: Section) -> list[str] | None:
    """The names that number the classes of the training data, if other ones than its own.

    They are `Global.class_names`, or those of the weights from which a training of as many classes starts, where it
    has no further ones: the head of these weights then fits.
    """
    stated = class_names(config)
    if stated:
        return stated
    names = names_beside(weights_of(config))
    if not names or len(names) != class_count(config):
        return None
    own = build_dataset(config["DataLoader"]["Train"]["dataset"], class_num=None).classes
    return names if own and set(data.normalized(own)) <= set(data.normalized(names)) else None


def head_is_of_others(config: Section) -> bool:
    """Whether the weights from which a training starts have a head of as many classes, but of other ones."""
    before, now = names_beside(weights_of(config)), class_names(config)
    if not (before and now and len(before) == class_count(config)):
        return False
    others = [name for name in before if name not in set(now)]
    is_of_others = data.normalized(before) != data.normalized(now)
    if is_of_others:
        logger.info(
            "%s was trained on other classes (%s): the head starts with new weights",
            *(weights_of(config), data.listing(others or before)),
        )
    return is_of_others


def require_classes_of_teachers(config: Section) -> None:
    """
    Raises:
        ConfigError: a network of a distillation starts from weights that were trained on as many, but other classes.
    """
    arch, names = config["Arch"], class_names(config)
    if inference_arch(arch) is arch or not names:
        return
    sources = [section.get("pretrained") for section in members(arch).values()] + (arch.get("pretrained_list") or [])
    for source in filter(lambda source: isinstance(source, str), sources):
        taught = names_beside(source)
        if taught and len(taught) == class_count(config) and data.normalized(taught) != data.normalized(names):
            raise ConfigError(
                f"Arch.models: expected weights that were trained on the classes of the training data"
                f" ({data.listing(names)}), got {source}, trained on {data.listing(taught)}"
            )


def evaluation_names(config: Section) -> list[str] | None:
    """The names among which the classes of the evaluation data are looked up.

    They are those of the training's classes; where these are not known, of the training data that the configuration
    names, or the label names that it gives, if the evaluation data has some of them. None: nothing is known, or the
    data has numbers alone.
    """
    known = class_names(config)
    if known:
        return known
    images = build_dataset(config["DataLoader"]["Eval"]["dataset"], class_num=None, training=False)
    own = set(data.normalized(images.classes or []))
    for names in (_names_of_training_data(config), _stated_labels(config)) if own else ():
        if names and own & set(data.normalized(names)):
            return names
    return None


def _names_of_training_data(config: Section) -> list[str] | None:
    section = (config.get("DataLoader") or {}).get("Train")
    try:
        return build_dataset(section["dataset"], class_num=None).classes if section else None
    except DataError:  # it need not be there any more
        return None


def _stated_labels(config: Section) -> list[str] | None:
    """The label names of `Infer.PostProcess`, where there is one for each class."""
    try:
        labels = class_labels(config)
    except (ConfigError, DataError):  # they need not be those of this network
        return None
    return [labels[index] for index in range(len(labels))] if len(labels) == class_count(config) else None


def log_data(place: str, images: data.Dataset, class_num: int) -> None:
    """Log what `data_notes` returns."""
    for level, text in data_notes(place, images, class_num):
        logger.log(level, text)


def data_notes(place: str, images: data.Dataset, class_num: int) -> Iterator[tuple[int, str]]:
    """Which files of class folders were skipped, and which classes have no image: level of the log, and text."""
    skipped = getattr(images, "skipped", None)
    if skipped:
        yield logging.WARNING, f"{place}: {data.describe_skipped(skipped)}"
    if images.labels.ndim == 2:
        return
    present = set(np.unique(images.labels).tolist())
    missing = [index for index in range(class_num) if index not in present]
    if not missing:
        return
    names = [images.classes[index] if images.classes and index < len(images.classes) else index for index in missing]
    hint = "" if images.classes else _numbering(place, present)
    level = logging.WARNING if hint else logging.INFO
    yield level, f"{place}: no image of {len(missing)} of the {class_num} classes: {data.listing(names)}{hint}"


def _numbering(place: str, present: set[int]) -> str:
    """What to do about labels that do not begin at 0."""
    if 0 in present:
        return ""
    return f"; labels are {min(present)} to {max(present)}: where they should begin at 0, set {place}.relabel to true"


def require_two_classes(images: data.Dataset) -> None:
    """
    Raises:
        DataError: all images that are to be learned are of one class.
    """
    if images.labels.ndim == 2 or images.labels.min() != images.labels.max():
        return
    label = int(images.labels[0])
    name = repr(images.classes[label]) if images.classes else label
    raise DataError(
        f"{TRAIN_DATA}: expected images of two classes or more, got {len(images)} of class {name} alone"
        f"{_nested(images)}"
    )


def _nested(images: data.Dataset) -> str:
    """'; if its folders ... are the classes, set image_root to ...' of a single class folder that has folders."""
    if not (isinstance(images, data.ImageFolder) and len(images.classes) == 1):
        return ""
    root = os.path.join(images.image_root, images.classes[0])
    inner = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    return f"; if its folders ({data.listing(inner)}) are the classes, set image_root to {root!r}" if inner else ""


def class_labels(config: Section) -> dict[int, str]:
    """Class names: those that the configuration gives, or those that training left beside the weights; else none.

    Raises:
        ConfigError: other names than the network has classes, or the training's names in another order.
    """
    chosen = settings(InferSection, config.get("Infer")).PostProcess or {}
    count = class_count(config)
    of_run = dict(enumerate(class_names(config) or []))
    if chosen.get("label_list"):
        names = chosen["label_list"]
        if len(names) != count:
            raise ConfigError(
                f"Infer.PostProcess.label_list: expected {count} names, one a class (Arch.class_num), got {len(names)}"
            )
        return _in_order("Infer.PostProcess.label_list", dict(enumerate(names)), of_run)
    file = chosen.get("class_id_map_file")
    if not file:
        return of_run
    labels = data.read_labels(file, chosen.get("delimiter") or " ")
    if of_run and (len(labels) != count or max(labels) >= count):
        logger.info("%s names %d classes, not %d: the names are those of the training", file, len(labels), count)
        return of_run
    if max(labels) >= count:
        raise ConfigError(
            f"Infer.PostProcess.class_id_map_file: expected names of {count} classes (Arch.class_num), got"
            f" {file!r} with those of {max(labels) + 1}; name another file, or set it to null"
        )
    return _in_order("Infer.PostProcess.class_id_map_file", labels, of_run)


def _in_order(key: str, labels: dict[int, str], of_run: Mapping[int, str]) -> dict[int, str]:
    """`labels`, where none of them is the name of another class of the training."""
    known = data.normalized(list(of_run.values()))
    for (index, name), plain in zip(labels.items(), data.normalized(list(labels.values())), strict=True):
        if plain in known and known[index] != plain:
            raise ConfigError(
                f"{key}: expected names in the order of the training's classes ({data.listing(known)}), got"
                f" {name!r} for class {index}, which is {known[index]!r}: correct the order or remove the names"
            )
    return labels


def _of_highest_label(images: data.Dataset) -> str:
    if images.labels.ndim == 2:
        return "an image has one value for each"
    return f"label {images.labels.max()} of {images.describe(int(images.labels.argmax()))}"


def label_list(config: Section) -> list[str]:
    """The name of each class, in order; a class without one is called by its index."""
    labels = class_labels(config)
    return [labels.get(index, str(index)) for index in range(class_count(config))]


def _with_class_num(config: Section, count: int) -> dict[str, Any]:
    return {**config, "Arch": {**config["Arch"], "class_num": count}}
