"""Number and names of the classes, from the configuration, the data or a training run.

`Global.class_names` are the names of the training's classes, in order. Training takes them from its data and writes
them to `labels.txt` next to the weights and to `config.yaml`, where evaluation, inference and export read them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ppzoo import data
from ppzoo.builders.class_checks import require_two_classes
from ppzoo.builders.component_factory import class_count, components
from ppzoo.builders.datasets import TRAIN_DATA, build_dataset
from ppzoo.config import Config, DatasetConfig, DistillationConfig, load
from ppzoo.errors import ConfigError, DataError, count_text, errors_with_key
from ppzoo.files import RUN_CONFIG
from ppzoo.host import MAX_CLASSES

logger = logging.getLogger("ppzoo")

LABELS = "labels.txt"


class TrainingData(NamedTuple):
    """The training data and what follows from its classes.

    Attributes:
        config: the configuration with the number and the names of the classes.
        images: the data, with the classes numbered as those of the network.
        other_classes: a sentence if the initial weights were trained on the same number of other classes, so that the
            head has to be initialized; else None.
    """

    config: Config
    images: data.Dataset
    other_classes: str | None


def build_training_data(config: Config) -> TrainingData:
    """Build the training data, and complete the configuration with its classes.

    Raises:
        ConfigError, DataError: the data cannot be read, or its classes contradict the configuration.
    """
    config = add_classes_of_data(config)
    images = build_dataset(training_data(config), class_count(config.Arch), find_training_names(config))
    require_two_classes(images)
    config = config.with_class_names(images.classes)
    _require_classes_of_teachers(config)
    require_class_labels(config)
    return TrainingData(config, images, _describe_other_classes(config))


def add_classes_of_data(config: Config) -> Config:
    """Return the configuration with `Arch.class_num`.

    If the key is unset, it becomes the number of `Global.class_names`, or else of classes in the training data.

    Raises:
        DataError: the training data cannot be read, or has too many classes.
    """
    if config.Arch.deployed.class_num is not None:
        return config
    if config.Global.class_names:
        return config.with_class_num(len(config.Global.class_names))
    images = build_dataset(training_data(config), class_num=None)
    count, found, fix = _count_classes(images)
    if count > MAX_CLASSES:
        raise DataError(f"Arch.class_num: expected at most {MAX_CLASSES}, got training data with {found}: {fix}")
    logger.info("Arch.class_num: the training data has %s", found)
    return config.with_class_num(count)


def _count_classes(images: data.Dataset) -> tuple[int, str, str]:
    """Return the number of classes of the training data, how it was found, and what to do if it is too high."""
    if images.labels.ndim == 2:
        count = images.labels.shape[1]
        fix = f"correct the list file, or, if it is a table, set {TRAIN_DATA}.label_columns"
        return count, f"{count_text(count, 'label')} per image", fix
    if images.classes:
        count = len(images.classes)
        more = ", ..." if count > 3 else ""
        found = f"{count_text(count, 'class')} ({', '.join(images.classes[:3])}{more})"
        return count, found, f"correct the class folders or class names of {TRAIN_DATA}"
    highest = int(images.labels.max())
    label = f"label {highest} of {images.describe(int(images.labels.argmax()))}"
    fix = f"{label}; correct that label, or set {TRAIN_DATA}.relabel to true"
    return highest + 1, f"{count_text(highest + 1, 'class')} (highest label + 1)", fix


def add_classes_of_run(config: Config) -> Config:
    """Return the configuration with the number and names of the classes that training wrote next to the weights.

    Raises:
        ConfigError: `Global.class_names` or `Arch.class_num` contradict them.
    """
    weights = find_weights(config)
    names = read_names_of_run(weights)
    file = Path(weights).parent / RUN_CONFIG if weights else None
    if file and os.path.isfile(file):
        run = _read_run_config(file)
        if config.Arch.deployed.class_num is None:
            config = config.with_class_num(class_count(run.Arch))
        names = names or list(run.Global.class_names or ())
    if names and len(names) > class_count(config.Arch):
        raise ConfigError(
            f"Arch.class_num: expected {len(names)}, since {weights} was trained on the classes"
            f" {data.format_names(names)}, got {class_count(config.Arch)}"
        )
    own = config.Global.class_names
    if names and own and data.normalize_names(names) != data.normalize_names(own):
        raise ConfigError(
            f"Global.class_names: expected the classes that {weights} was trained on ({data.format_names(names)}), got"
            f" {data.format_names(own)}: remove the key or use other weights"
        )
    return config.with_class_names(own or names)


def _read_run_config(file: Path) -> Config:
    """Return the sections `Arch` and `Global` of a run's configuration."""
    raw = load(file)
    try:
        return Config.parse({key: raw[key] for key in ("Arch", "Global") if key in raw}, components(), task=None)
    except ConfigError as error:
        raise ConfigError(*(f"{file}: {problem}" for problem in error.problems)) from error


def find_weights(config: Config) -> str | None:
    """Return the path or URL of the weights of a configuration; None for official weights and without weights."""
    source = config.Global.pretrained_model or config.Arch.deployed.pretrained
    return source if isinstance(source, str) else None


def read_names_of_run(weights: str | None) -> list[str] | None:
    """Return the class names that training wrote next to its weights; None if there are none."""
    file = Path(weights).parent / LABELS if weights else None
    if not (file and os.path.isfile(file)):
        return None
    labels = data.read_labels(file)
    return [labels.get(index, str(index)) for index in range(max(labels) + 1)]


def find_training_names(config: Config) -> list[str] | None:
    """Return the class names that define the order of the training data's classes; None for the data's own order.

    They are `Global.class_names`, or the class names stored with the weights that training starts from, if the numbers
    of classes are equal and the data has no other classes: the head of these weights then fits.
    """
    if config.Global.class_names:
        return list(config.Global.class_names)
    names = read_names_of_run(find_weights(config))
    if not names or len(names) != class_count(config.Arch):
        return None
    own = build_dataset(training_data(config), class_num=None).classes
    return names if own and set(data.normalize_names(own)) <= set(data.normalize_names(names)) else None


def _describe_other_classes(config: Config) -> str | None:
    """Return a sentence if the initial weights were trained on the same number of other classes, else None."""
    weights = find_weights(config)
    before, now = read_names_of_run(weights), config.Global.class_names
    if not (before and now and len(before) == class_count(config.Arch)):
        return None
    if data.normalize_names(before) == data.normalize_names(now):
        return None
    others = [name for name in before if name not in set(now)]
    return f"{weights} was trained on other classes ({data.format_names(others or before)})"


def _require_classes_of_teachers(config: Config) -> None:
    """Check that the weights of a distillation's networks were trained on the classes of the training data."""
    arch, names = config.Arch, config.Global.class_names
    if not (isinstance(arch, DistillationConfig) and names):
        return
    sources = [network.pretrained for network in arch.models.values()] + [*(arch.pretrained_list or ())]
    for source in sources:
        trained = read_names_of_run(source) if isinstance(source, str) else None
        if not trained or len(trained) != class_count(arch):
            continue
        if data.normalize_names(trained) != data.normalize_names(names):
            raise ConfigError(
                f"Arch.models: expected weights that were trained on the classes of the training data"
                f" ({data.format_names(names)}), got {source}, trained on {data.format_names(trained)}"
            )


def find_evaluation_names(config: Config, dataset: DatasetConfig) -> list[str] | None:
    """Return the class names that define the order of the evaluation data's classes; None if they are unknown.

    They are the names of the training's classes. If these are unknown, they are the names of the configured training
    data, or the configured label names, if the evaluation data has some of them.
    """
    if config.Global.class_names:
        return list(config.Global.class_names)
    images = build_dataset(dataset, class_num=None, training=False)
    own = set(data.normalize_names(images.classes or []))
    for names in (_names_of_training_data(config), _configured_labels(config)) if own else ():
        if names and own & set(data.normalize_names(names)):
            return names
    return None


def _names_of_training_data(config: Config) -> list[str] | None:
    section = config.DataLoader.Train
    try:
        return build_dataset(section.dataset, class_num=None).classes if section else None
    except DataError:  # evaluation does not need the training data
        return None


def _configured_labels(config: Config) -> list[str] | None:
    """Return the label names of `Infer.PostProcess` if there is one per class."""
    try:
        labels = read_class_labels(config)
    except (ConfigError, DataError):  # they can be those of another network
        return None
    return [labels[index] for index in range(len(labels))] if len(labels) == class_count(config.Arch) else None


def read_class_labels(config: Config) -> dict[int, str]:
    """Return the class names by index: those of `Infer.PostProcess`, or else of `Global.class_names`, or else {}.

    A `class_id_map_file` for another number of classes is ignored if `Global.class_names` is set. Without these names,
    one of PaddleClas's own lists is ignored if it names more classes than the network has; a file that names fewer is
    used.

    Raises:
        ConfigError: `label_list` does not have one name per class, the file names more classes than the network has,
            or the names are those of the training in another order.
        DataError: the file cannot be read.
    """
    labels, ignored = _find_class_labels(config)
    if ignored:
        logger.log(*ignored)
    return labels


def _find_class_labels(config: Config) -> tuple[dict[int, str], tuple[int, str] | None]:
    """Return what `read_class_labels` returns, and level and text of the message about an ignored file, if any."""
    section = config.Infer.PostProcess
    count = class_count(config.Arch)
    of_run = dict(enumerate(config.Global.class_names or ()))
    if section and section.label_list:
        names = section.label_list
        if len(names) != count:
            raise ConfigError(
                f"Infer.PostProcess.label_list: expected {count} names, one per class (Arch.class_num), got"
                f" {len(names)}"
            )
        return _require_order("Infer.PostProcess.label_list", dict(enumerate(names)), of_run), None
    file = section.class_id_map_file if section else None
    if not (section and file):
        return of_run, None
    with errors_with_key("Infer.PostProcess.class_id_map_file"):
        labels = data.read_labels(file, section.delimiter or " ", delimiter_key="Infer.PostProcess.delimiter")
    highest = max(labels)
    if len(labels) > count or highest < count:
        difference = f"names {count_text(len(labels), 'class')}, not {count}"
    else:
        difference = f"has the index {highest}, but the highest class index is {count - 1}"
    if of_run and (len(labels) != count or highest >= count):
        return of_run, (logging.INFO, f"{file} {difference}: using the names of the training data")
    if highest >= count and data.is_shipped_list(file):  # as in a copy of PaddleClas's configurations
        return {}, (logging.WARNING, f"Infer.PostProcess.class_id_map_file: ignoring {file}, which {difference}")
    if highest >= count:
        raise ConfigError(
            f"Infer.PostProcess.class_id_map_file: expected names of {count} classes (Arch.class_num), got {file!r},"
            f" which {difference}; set another file or null"
        )
    return _require_order("Infer.PostProcess.class_id_map_file", labels, of_run), None


def require_class_labels(config: Config) -> None:
    """Check the class names of `Infer.PostProcess` before training, as predictions and exports check them.

    A file that does not exist is not an error, since training does not need it.

    Raises:
        ConfigError, DataError: those of `read_class_labels`.
    """
    section = config.Infer.PostProcess
    if section and (section.label_list or os.path.exists(section.class_id_map_file or "")):
        read_class_labels(config)


def _require_order(key: str, labels: dict[int, str], of_run: Mapping[int, str]) -> dict[int, str]:
    """Return `labels`.

    Raises:
        ConfigError: a label is the name of a class that has another index in the training.
    """
    known = data.normalize_names(list(of_run.values()))
    for (index, name), plain in zip(labels.items(), data.normalize_names(list(labels.values())), strict=True):
        if plain in known and known[index] != plain:
            raise ConfigError(
                f"{key}: expected names in the order of the training's classes ({data.format_names(known)}), got"
                f" {name!r} for class {index}, which is {known[index]!r}: correct the order or remove the names"
            )
    return labels


def list_labels(config: Config) -> list[str]:
    """Return the name of each class, in order; the index for a class without a name.

    Raises:
        ConfigError, DataError: those of `read_class_labels`.
    """
    return _complete(read_class_labels(config), class_count(config.Arch))


def list_readable_labels(config: Config) -> list[str]:
    """Return the names of `list_labels`, without messages, and without an error if they cannot be read or do not fit.

    In case of such an error, the names are those of `Global.class_names`; a class without a name has its index.
    """
    try:
        labels, _ = _find_class_labels(config)
    except (ConfigError, DataError):
        labels = dict(enumerate(config.Global.class_names or ()))
    return _complete(labels, class_count(config.Arch))


def _complete(labels: Mapping[int, str], count: int) -> list[str]:
    """Return the name of each of `count` classes; the index for a class without a name."""
    return [labels.get(index, str(index)) for index in range(count)]


def training_data(config: Config) -> DatasetConfig:
    """Return the section `DataLoader.Train.dataset`.

    Raises:
        ConfigError: it is missing.
    """
    if config.DataLoader.Train is None:
        raise ConfigError("DataLoader.Train: expected the training data, got nothing")
    return config.DataLoader.Train.dataset
