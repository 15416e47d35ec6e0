"""The subject of a report: a run or an export, evaluated image by image with the code of `ppzoo eval`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import paddle

from ppzoo import data, yaml_io
from ppzoo.analysis import PredictionRecorder, Predictions
from ppzoo.builders.class_names import list_labels
from ppzoo.builders.component_factory import class_count
from ppzoo.builders.dry_run import read_config, require_files
from ppzoo.builders.evaluation import build_run_evaluation
from ppzoo.builders.models import score_selector
from ppzoo.builders.preprocessing import find_missing_decoding
from ppzoo.builders.report_features import FeatureRecorder
from ppzoo.builders.tta_views import enabled_tta
from ppzoo.config import ComponentSpec, Config, DatasetConfig
from ppzoo.data.samples import Sample
from ppzoo.errors import ConfigError, DataError, errors_with_fixes
from ppzoo.files import ARCHIVE_SUFFIXES, WEIGHTS, describe_absence
from ppzoo.layers import Classifier
from ppzoo.report import Note, make_note

ARCHIVE = ".tar"
FIXES_OF_DATA = {**data.FIXES_WITHOUT_CONFIG, r"correct the label or Arch\.class_num.*": "correct the label"}
DATASET_KEYS = r"DataLoader\.Eval\.dataset(\.\w+)?: (dataset\.\w+: )?"


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network with its predictions on the evaluation data, and what is known about it.

    Attributes:
        source: the folder of the run or of the export.
        title: name of the architecture; of an export that does not name it, name of its folder.
        classes: names of the classes, in the order of their indices.
        samples: the evaluated samples.
        metrics: as `ppzoo eval` prints them; `main` is the name of the main metric, None if there is no metric.
        network: the network whose gradients can be computed; None for an export that cannot be rebuilt.
        predict: returns the outputs for a batch of preprocessed images, N x C x H x W.
        engine: what runs `predict`.
        weight_files: the files of the weights that were found.
        config: the configuration; None for an export.
        config_text: the configuration, or the settings of the export, as YAML.
        first_input: the network's input for the first evaluated image, C x H x W float32.
        features: index in the dataset -> feature vector, for the random images that the report draws as points of its
            map of images; None if the evaluation does not compute features.
        notes: sentences of the report about values that are unknown, or that come from a part of the data.
        lost: the positions of the evaluated images that could not be read again.
    """

    kind: Literal["run", "export"]
    source: Path
    title: str
    classes: list[str]
    samples: data.Samples
    metrics: dict[str, float]
    main: str | None
    predictions: Predictions
    network: Classifier | None
    predict: Callable[[np.ndarray], Any]
    engine: str
    weight_files: list[Path]
    config: Config | None
    config_text: str
    first_input: np.ndarray
    features: dict[int, np.ndarray] | None = None
    notes: list[Note] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)

    def read_inputs(self, positions: Iterable[int]) -> Iterator[EvaluatedImage]:
        """Yield the network's inputs for evaluated images; the positions of unreadable images are added to `lost`."""
        for position in positions:
            try:
                sample = self.samples.read((0, int(self.predictions.indices[position])))
            except DataError:
                self.lost.add(position)
                continue
            image = sample.image if sample.normalized else self.samples.normalize(sample.image[np.newaxis])[0]
            yield EvaluatedImage(position, image.astype(np.float32, copy=False), sample)


class EvaluatedImage(NamedTuple):
    """An evaluated image by its position: the network's input, C x H x W float32, and the sample behind it."""

    position: int
    image: np.ndarray
    sample: Sample


def group_by_shape(images: Iterable[EvaluatedImage]) -> list[list[EvaluatedImage]]:
    """Return groups of images that can be in one batch."""
    groups: dict[tuple[int, ...], list[EvaluatedImage]] = {}
    for one in images:
        groups.setdefault(one.image.shape, []).append(one)
    return list(groups.values())


def read_report_config(source: str, overrides: Sequence[str] = (), images: str | None = None) -> Config:
    """Return the configuration of a run to evaluate.

    Args:
        images: what to evaluate on instead of the data of `DataLoader.Eval`, see `report_dataset`.
    """
    if images is None:
        return read_config(source, overrides, "eval")
    config = read_config(source, overrides, task=None)
    split = config.DataLoader.Eval
    if split is None:
        raise ConfigError("DataLoader.Eval: expected the evaluation data, whose transforms --data uses, got nothing")
    spec = report_dataset(images, multi_label=config.Global.use_multilabel)
    if spec.name == split.dataset.spec.name:
        spec = replace(spec, options={**split.dataset.spec.options, **spec.options})  # such as label_ratio
    dataset = replace(split.dataset, spec=spec, batch_transform_ops=None)
    config = replace(config, DataLoader=replace(config.DataLoader, Eval=replace(split, dataset=dataset)))
    with errors_of_data(images):
        require_files(config, "eval")
    mistakes = [mistake for mistake in find_missing_decoding(config) if mistake.startswith("DataLoader.Eval.")]
    if mistakes:
        raise ConfigError(*mistakes)
    return config


def report_dataset(images: str, *, multi_label: bool) -> ComponentSpec:
    """Return the dataset of --data: a folder with one subfolder of images per class or with tar files, or a list file.

    The paths in a list file are relative to its folder. With several labels per image, only a list file of
    `MultiLabelDataset` is possible.

    Raises:
        ConfigError: the path does not exist, or is that of an image or an archive; or a network with several labels per
            image, but no list file.
    """
    is_list = os.path.isfile(images)
    if not os.path.exists(images):
        raise ConfigError(
            f"--data: expected a folder of images or a list file, got {images!r}, which {describe_absence(images)}"
        )
    if is_list and images.lower().endswith(data.IMAGE_SUFFIXES):
        raise ConfigError(
            f"--data: expected a folder of images or a list file, got the image {images!r}; use its folder"
        )
    if multi_label and not is_list:
        raise ConfigError(
            "--data: expected a list file with lines such as 'image.jpg<tab>0,1,0', since the network predicts several"
            f" labels per image, got {images!r}, which is no file"
        )
    if is_list and images.endswith(ARCHIVE):
        raise ConfigError(f"--data: expected a folder or a list file, got {images!r}; use the folder of the .tar files")
    if is_list and images.lower().endswith(ARCHIVE_SUFFIXES):
        raise ConfigError(f"--data: expected a folder or a list file, got the archive {images!r}: extract it")
    if is_list:
        lists = "MultiLabelDataset" if multi_label else "ImageNetDataset"
        return ComponentSpec(lists, {"image_root": os.path.dirname(images) or ".", "cls_label_path": images})
    return ComponentSpec("TarShards" if _is_shard_folder(images) else "ImageFolder", {"image_root": images})


@contextmanager
def errors_of_data(images: str | None) -> Iterator[None]:
    """Replace the key at the beginning of errors about the evaluation data by --data.

    Args:
        images: the value of --data; if it is None, errors are not changed.

    Raises:
        ConfigError, DataError: the errors.
    """
    try:
        with errors_with_fixes({} if images is None else FIXES_OF_DATA):
            yield
    except (ConfigError, DataError) as error:
        if images is None or not re.match(DATASET_KEYS, error.line):
            raise
        problems = error.problems if isinstance(error, ConfigError) else [error.line]
        raise type(error)(*(re.sub(DATASET_KEYS, "--data: ", problem) for problem in problems)) from error


def _is_shard_folder(folder: str) -> bool:
    """Return whether a folder has .tar files and no subfolders."""
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:  # the dataset reports it
        return False
    return any(entry.name.endswith(ARCHIVE) for entry in entries) and not any(entry.is_dir() for entry in entries)


def evaluate_run(config: Config) -> EvaluatedNetwork:
    """Evaluate the trained network of a configuration on the data of `DataLoader.Eval`."""
    evaluated = build_run_evaluation(config, features=not config.Global.use_multilabel)
    config, evaluation = evaluated.config, evaluated.evaluation
    dataset = evaluation.samples.dataset
    class_num = class_count(config.Arch)
    recorder = PredictionRecorder(class_num, len(dataset), multi_label=dataset.labels.ndim == 2)
    outputs = OutputRecorder(recorder, config.Arch.deployed_name)
    features = [FeatureRecorder(evaluated.head_input, len(dataset))] if evaluated.head_input else []
    metrics = evaluated.run(outputs, *features)
    predictions = recorder.finish()
    network = evaluated.deployed_layers
    names = dataset.classes if not config.Global.class_names and len(dataset.classes or ()) == class_num else None
    return EvaluatedNetwork(
        kind="run",
        source=_run_folder(config),
        title=config.Arch.deployed.name,
        classes=list(names or list_labels(config)),
        samples=evaluation.samples,
        metrics=metrics,
        main=evaluation.main if config.Metric.Eval else None,
        predictions=predictions,
        network=network,
        predict=_predict_without_gradients(network),
        engine="PaddlePaddle",
        weight_files=_weight_files(config),
        config=config,
        config_text=yaml_io.dump(config.to_dict()),
        first_input=outputs.first_input,
        features=features[0].finish() if features else None,
        notes=evaluation_notes(predictions, len(dataset), config),
    )


class OutputRecorder:
    """Records the output of the deployed network for each batch of an evaluation in this process.

    Args:
        network_name: see `score_selector`.

    Attributes:
        first_input: the first image of the first batch, C x H x W float32.
    """

    first_input: np.ndarray

    def __init__(self, recorder: PredictionRecorder, network_name: str | None = None) -> None:
        self.recorder, self.select = recorder, score_selector(network_name)

    def reset(self) -> None: ...

    def update(self, output: Any, batch: Any) -> None:
        if not hasattr(self, "first_input"):
            self.first_input = batch.images[0].astype("float32").numpy()
        scores = self.select(output).astype("float32").numpy()
        self.recorder.add(batch.indices.numpy(), scores, batch.labels.numpy())

    def state(self) -> None: ...

    def merge(self, states: list[Any]) -> None: ...


def _predict_without_gradients(network: Classifier) -> Callable[[np.ndarray], Any]:
    def predict(images: np.ndarray) -> Any:
        network.eval()
        with paddle.no_grad():
            output = network(paddle.to_tensor(images))
        return (output[0] if isinstance(output, (list, tuple)) else output).numpy()

    return predict


def _run_folder(config: Config) -> Path:
    """Return the folder of the weight file; if there is none (official weights), `Global.output_dir`/`Arch.name`."""
    files = _weight_files(config)
    return files[0].parent if files else Path(config.Global.output_dir) / config.Arch.name


def _weight_files(config: Config) -> list[Path]:
    source = config.Global.pretrained_model or config.Arch.deployed.pretrained
    if not isinstance(source, str):
        return []
    return [path for path in (Path(source), Path(f"{source}{WEIGHTS}")) if path.is_file()]


def evaluation_notes(predictions: Predictions, images: int, config: Config | None) -> list[Note]:
    """Return notes about skipped images, test-time augmentation, and a temperature fitted to a part of the images.

    Args:
        images: number of images of the evaluation data.
        config: the configuration of a run; None for an export.
    """
    notes = []
    if len(predictions) < images:
        notes.append(make_note("skipped", n=images - len(predictions)))
    if config and enabled_tta(config):
        notes.append(make_note("tta"))
    if len(predictions.kept) < len(predictions):
        notes.append(make_note("temperature_part", kept=len(predictions.kept), images=len(predictions)))
    return notes


def training_config(evaluated: EvaluatedNetwork) -> DatasetConfig | None:
    """Return the section of the training data, without its transforms; None if there is none."""
    split = evaluated.config.DataLoader.Train if evaluated.config else None
    return replace(split.dataset, transform_ops=None) if split else None
