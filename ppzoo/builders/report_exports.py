"""The evaluation of an export for a report, on images that the user names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from ppzoo import data, deploy, engine, losses, yaml_io
from ppzoo import metrics as metric_types
from ppzoo.analysis import PredictionRecorder
from ppzoo.builders.component_factory import build_loss, build_metrics, parse_specs
from ppzoo.builders.data_loading import build_loader, read_first_batch
from ppzoo.builders.evaluation import count_images
from ppzoo.builders.export import require_export
from ppzoo.builders.rebuilding import config_of_export, rebuild_network, require_output_of_export
from ppzoo.builders.report_sources import (
    EvaluatedNetwork,
    OutputRecorder,
    errors_of_data,
    evaluation_notes,
    report_dataset,
)
from ppzoo.config import ComponentSpec, DatasetConfig, SamplerConfig, SplitConfig
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, DataError, errors_with_fixes
from ppzoo.finite import MIN_PROBABILITY
from ppzoo.layers import Classifier
from ppzoo.progress import track
from ppzoo.report import Note, make_note

EXPORT_BATCH = 32
FIXES_OF_EXPORTS = {  # for `errors_with_fixes`; an export has no such keys
    r"; set `on_error.*CONFIG`": "",
    r"correct dataset\.image_root": "correct its path in the list",
}
PROBES = 2  # images on which the network and its export are compared
MIN_COMPLEMENT = 2.0**-25  # half of the distance between 1 and the float32 below


@errors_with_fixes(FIXES_OF_EXPORTS)
def evaluate_export(folder: Path, images: str, device: str) -> EvaluatedNetwork:
    """Evaluate an export on images.

    Args:
        images: see `report_dataset`.

    Raises:
        ConfigError: the export predicts several labels per image, and `images` is no list file.
        DataError: the images do not fit the classes of the export.
    """
    engine.select_device(device)
    exported = deploy.open_export(folder)
    require_export(exported)
    multi_label, labels = exported.is_multi_label, exported.labels
    dataset = report_dataset(images, multi_label=multi_label)
    network = _ExportedNetwork(deploy.PaddleEngine(exported), multi_label=multi_label)
    with errors_of_data(images):
        loader = _build_export_loader(exported, dataset, [] if multi_label else labels)
    class_num = network(read_first_batch(loader).images).shape[1]
    classes = _name_classes(labels, loader.samples.dataset, class_num)
    loss, metrics = _build_criteria(class_num, multi_label=multi_label)
    samples = loader.samples
    recorder = PredictionRecorder(class_num, len(samples), multi_label=multi_label)
    batches = track(loader.epoch(0), len(samples), "evaluating", count=count_images)
    describe, outputs = samples.dataset.describe, OutputRecorder(recorder)
    results = engine.evaluate(network, batches, loss, metrics, describe=describe, observers=[outputs])
    predictions = recorder.finish()
    unnamed = make_note("export_class_numbers" if multi_label else "export_class_names")
    notes = [make_note("export_history"), *([] if labels else [unnamed])]
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
        first_input=outputs.first_input,
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
    """An exported program as a layer that returns logits (with one label per image, up to a constant)."""

    def __init__(self, program: deploy.PaddleEngine, *, multi_label: bool) -> None:
        super().__init__()
        self.engine, self.multi_label = program, multi_label

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        probabilities = self.engine(images.numpy())
        logits = np.log(np.maximum(probabilities, MIN_PROBABILITY))
        if self.multi_label:
            logits -= np.log(np.maximum(1 - probabilities, MIN_COMPLEMENT))
        return paddle.to_tensor(logits)


def _build_criteria(class_num: int, *, multi_label: bool) -> tuple[losses.CombinedLoss, metric_types.MetricList]:
    """Return the loss and the metrics of an export, which does not have those of its run."""
    if multi_label:
        return build_loss([{"MultiLabelLoss": None}]), build_metrics(
            [{"AccuracyScore": None}, {"HammingDistance": None}]
        )
    topk = [1, 5] if class_num > 5 else [1]
    return build_loss([{"CELoss": None}]), build_metrics([{"TopkAcc": {"topk": topk}}])


def _build_export_loader(exported: deploy.ExportedModel, dataset: ComponentSpec, labels: list[str]) -> Loader:
    """Build the loader of images with the transforms of an export; `labels` number the class folders."""
    sampler = ComponentSpec("DistributedBatchSampler", {})
    split = SplitConfig(
        dataset=DatasetConfig(spec=dataset, transform_ops=parse_specs("transform", exported.transform_ops)),
        sampler=SamplerConfig(spec=sampler, batch_size=EXPORT_BATCH, shuffle=False),
    )
    options = {"class_num": len(labels), "classes": labels} if labels else {"class_num": None}
    return build_loader(split, seed=0, training=False, **options)


def _name_classes(labels: list[str], dataset: data.Dataset, class_num: int) -> list[str]:
    """Return the names of the classes of an export; without names, those of the data, or numbers.

    Raises:
        DataError: the export has more names than classes; it has no names and the data has more or fewer classes; a
            label is not the index of a class; or the data has another number of labels per image.
    """
    names = labels or list(dataset.classes or ())
    if dataset.labels.ndim == 2 and dataset.labels.shape[1] != class_num:
        width = dataset.labels.shape[1]
        raise DataError(f"--data: expected {class_num} values per line, one for each class of the export, got {width}")
    if dataset.labels.ndim == 1 and dataset.classes is None and dataset.labels.max() >= class_num:
        raise DataError(f"--data: expected labels from 0 to {class_num - 1}, got {dataset.labels.max()}")
    is_unnamed = dataset.labels.ndim == 1 and not labels and dataset.classes is not None
    if len(names) > class_num or (is_unnamed and len(names) < class_num):
        raise DataError(f"--data: expected {class_num} classes, those of the export, got {len(names)}")
    return names + [str(index) for index in range(len(names), class_num)]
