"""Describe a training run for its model card, and copy the card into exports."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle

import ppzoo
from ppzoo import data
from ppzoo.builders.class_names import find_weights, list_readable_labels
from ppzoo.builders.component_factory import class_count
from ppzoo.config import Config, DatasetConfig
from ppzoo.files import read_plain_file, write_atomically
from ppzoo.layers import Classifier, deployed_network
from ppzoo.metrics import ClassRecall
from ppzoo.report.model_card import MODEL_CARD, CardData, CardFacts, ReadCounts

MAX_BYTES = 1 << 20


def describe_for_card(
    config: Config, network: Classifier, training: data.Dataset, evaluation: data.Dataset | None
) -> CardFacts:
    """Return what a model card states about a run before it is trained."""
    train, evaluate = config.DataLoader.Train, config.DataLoader.Eval
    count = class_count(config.Arch)
    return CardFacts(
        architecture=config.Arch.deployed.name,
        parameters=sum(int(np.prod(one.shape)) for one in deployed_network(network).parameters()),
        classes=list_readable_labels(config),
        image_shape=config.Global.image_shape,
        train=_describe_data(training, train.dataset if train else None, count),
        evaluation=_describe_data(evaluation, evaluate.dataset if evaluate else None, count) if evaluation else None,
        recipe=list(_recipe(config)),
        start=find_weights(config) or ("the official weights" if config.Arch.deployed.pretrained else "random weights"),
        limits=_limits(training, evaluation),
        versions={"ppzoo": ppzoo.__version__, "PaddlePaddle": paddle.__version__, "Python": platform.python_version()},
        is_multi_label=config.Global.use_multilabel,
        export_folder=config.Global.save_inference_dir,
    )


def read_counts_of(recall: ClassRecall | None, *, has_average: bool) -> ReadCounts:
    """Return the function that returns recall and confusion of the last evaluation, both None if there was none.

    Args:
        has_average: whether the averaged weights are evaluated after the weights themselves.
    """

    def read(of_average: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
        if recall is None or not recall.recalls:
            return None, None
        position = -1 if of_average or not has_average else 0
        return recall.recalls[position], recall.confusions[position]

    return read


def copy_model_card(config: Config, folder: Path) -> None:
    """Copy the model card in the folder of the weights into an export.

    If the folder has no card, or one of more than `MAX_BYTES`, the card of an earlier export is removed.

    Raises:
        OSError: the folder cannot be written.
    """
    weights = find_weights(config)
    source = Path(weights).parent / MODEL_CARD if weights else None
    target = folder / MODEL_CARD
    if source is None or not source.is_file() or source.stat().st_size > MAX_BYTES:
        target.unlink(missing_ok=True)
        return
    content = read_plain_file(source)
    write_atomically(target, lambda file: file.write(content))


def _describe_data(dataset: data.Dataset, section: DatasetConfig | None, class_num: int) -> CardData:
    labels = np.asarray(dataset.labels)
    if labels.ndim == 2:
        counts = (labels == 1).sum(axis=0)
    else:
        counts = np.bincount(labels[(labels >= 0) & (labels < class_num)], minlength=class_num)
    return CardData(_source(section), len(dataset), counts.tolist())


def _source(section: DatasetConfig | None) -> str:
    """Return where the images of a dataset are from."""
    if section is None:
        return "unknown data"
    found = [section.spec.option(key) for key in ("cls_label_path", "image_root", "root", "data_file")]
    sources = [text for text in found if isinstance(text, str)]
    return f"{section.spec.name} ({', '.join(sources)})" if sources else section.spec.name


def _recipe(config: Config) -> Iterator[tuple[str, str]]:
    """Yield name and value of the settings by which trainings usually differ."""
    train, optimizer = config.DataLoader.Train, config.Optimizer
    if train is not None:
        yield "Batch size", f"{train.sampler.batch_size} images per process"
        names = [spec.name for spec in (*train.dataset.transforms, *(train.dataset.batch_transform_ops or ()))]
        yield "Transforms of the training images", ", ".join(names) or "none"
    yield "Loss", ", ".join(term.spec.name for term in config.Loss.Train or ())
    if optimizer is not None:
        rate = optimizer.lr.spec.option("learning_rate") or optimizer.lr.spec.option("max_learning_rate")
        suffix = "" if rate is None else f", learning rate {rate}"
        yield "Optimizer", f"{optimizer.spec.name} with the schedule {optimizer.lr.spec.name}{suffix}"
    if config.EMA is not None:
        yield "Averaged weights", f"decay {config.EMA.decay}"
    if config.AMP is not None and config.AMP.use_amp:
        yield "Mixed precision", f"{config.AMP.level}, {config.AMP.dtype}"
    yield "Seed", str(config.Global.seed or 0)


def _limits(training: data.Dataset, evaluation: data.Dataset | None) -> list[str]:
    """Return what the metrics do not show."""
    if evaluation is None:
        first = "The network was not evaluated on images that it was not trained on."
    else:
        first = f"The metrics are those of {len(evaluation)} images, which also selected the best epoch."
    sentences = [
        first,
        "Not evaluated: images of other sources, cameras or preprocessing, and images of none of the classes. Their"
        " predictions can be wrong and nevertheless have a high score.",
        "The scores were not calibrated; `ppzoo report` shows how they relate to the accuracy.",
    ]
    labels = np.asarray(training.labels)
    counts = np.bincount(labels[labels >= 0]) if labels.ndim == 1 else np.array([])
    counts = counts[counts > 0]
    if len(counts) and counts.max() >= 10 * counts.min():
        sentences.append(
            f"The training data is imbalanced: the largest class has {counts.max()} images, the smallest"
            f" {counts.min()}."
        )
    return sentences
