"""The evaluation of an export for a report, on a folder with one subfolder of images per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from ppzoo import data, deploy, engine, yaml_io
from ppzoo.analysis import PredictionRecorder
from ppzoo.builders.components import build_loss, build_metrics, parse_specs
from ppzoo.builders.data_loading import build_loader, read_first_batch
from ppzoo.builders.evaluation import count_images
from ppzoo.builders.export import require_export
from ppzoo.builders.rebuilding import config_of_export, rebuild_network, require_output_of_export
from ppzoo.builders.report_sources import EvaluatedNetwork, OutputRecorder, evaluation_notes
from ppzoo.config import ComponentSpec, DatasetConfig, SamplerConfig, SplitConfig
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, DataError
from ppzoo.layers import Classifier
from ppzoo.progress import track
from ppzoo.report import Note, make_note

EXPORT_BATCH = 32
PROBES = 2  # images on which the network and its export are compared
MIN_PROBABILITY = 1e-30  # the logarithm of 0 is not finite


def evaluate_export(folder: Path, images: str, device: str) -> EvaluatedNetwork:
    """Evaluate an export on a folder with one subfolder of images per class.

    Raises:
        ConfigError: the export predicts several labels per image.
        DataError: the class folders do not fit the classes of the export.
    """
    engine.select_device(device)
    exported = deploy.open_export(folder)
    require_export(exported)
    if exported.is_multi_label:
        name, _ = deploy.parse_postprocess(exported.settings["PostProcess"])
        raise ConfigError(f"--data: expected an export that predicts one class per image, got {folder} with {name}")
    network = _ExportedNetwork(deploy.PaddleEngine(exported))
    labels = exported.labels
    loader = _build_export_loader(exported, images, labels)
    class_num = network(read_first_batch(loader).images).shape[1]
    classes = _name_classes(labels, loader.samples.dataset, class_num)
    loss = build_loss([{"CELoss": None}])
    metrics = build_metrics([{"TopkAcc": {"topk": [1, 5] if class_num > 5 else [1]}}])
    samples = loader.samples
    recorder = PredictionRecorder(class_num, len(samples))
    batches = track(loader.epoch(0), len(samples), "evaluating", count=count_images)
    describe, observers = samples.dataset.describe, [OutputRecorder(recorder)]
    results = engine.evaluate(network, batches, loss, metrics, describe=describe, observers=observers)
    predictions = recorder.finish()
    notes = [make_note("export_history"), *([] if labels else [make_note("export_class_names")])]
    return EvaluatedNetwork(
        kind="export",
        source=folder,
        title=exported.architecture or folder.resolve().name,
        classes=classes,
        samples=samples,
        metrics=results,
        main=metrics.main,
        predictions=predictions,
        network=_find_network(exported, device, loader, notes),
        predict=network.engine,
        engine="Paddle Inference",
        weight_files=[exported.parameters],
        config=None,
        config_text=yaml_io.dump(exported.settings),
        notes=[*notes, *evaluation_notes(predictions, len(samples), None)],
    )


def _find_network(exported: deploy.ExportedModel, device: str, loader: Loader, notes: list[Note]) -> Classifier | None:
    """Build the network of an export, whose gradients can be computed; return None, with a note, if that fails."""
    try:
        config = config_of_export(exported, device)
        network = rebuild_network(config, exported)
        require_output_of_export(config, exported, network, read_first_batch(loader).images.numpy()[:PROBES])
    except ConfigError as error:
        notes.append(make_note("export_network", reason=str(error)))
        return None
    return network


class _ExportedNetwork(paddle.nn.Layer):
    """An exported program as a layer that returns log-probabilities, which are logits up to a constant."""

    def __init__(self, program: deploy.PaddleEngine) -> None:
        super().__init__()
        self.engine = program

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return paddle.to_tensor(np.log(np.maximum(self.engine(images.numpy()), MIN_PROBABILITY)))


def _build_export_loader(exported: deploy.ExportedModel, images: str, labels: list[str]) -> Loader:
    """Build the loader of a folder of class folders with the transforms of an export."""
    spec, sampler = ComponentSpec("ImageFolder", {"image_root": images}), ComponentSpec("DistributedBatchSampler", {})
    split = SplitConfig(
        dataset=DatasetConfig(spec=spec, transform_ops=parse_specs("transform", exported.transform_ops)),
        sampler=SamplerConfig(spec=sampler, batch_size=EXPORT_BATCH, shuffle=False),
    )
    options = {"class_num": len(labels), "classes": labels} if labels else {"class_num": None}
    try:
        return build_loader(split, seed=0, training=False, **options)
    except DataError as error:
        raise DataError(f"--data: {error.line.removeprefix('DataLoader.Eval.dataset: ')}") from error


def _name_classes(labels: list[str], dataset: data.Dataset, class_num: int) -> list[str]:
    """Return the names of the classes of an export; without names, those of the data.

    Raises:
        DataError: the export has more names than classes, or none and the data has not as many.
    """
    names = labels or list(dataset.classes or ())
    if len(names) > class_num or (not labels and len(names) < class_num):
        raise DataError(f"--data: expected {class_num} classes, those of the export, got {len(names)}")
    return names + [str(index) for index in range(len(names), class_num)]
