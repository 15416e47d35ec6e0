"""The subject of a report: a run or an export, evaluated image by image with the code of `ppzoo eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from ppzoo import config as configuration
from ppzoo import data, deploy, engine, yaml_io
from ppzoo.analysis import PredictionRecorder, Predictions
from ppzoo.builders.class_names import list_labels
from ppzoo.builders.components import build_loss, build_metrics, components, parse_specs
from ppzoo.builders.data_loading import build_loader, read_first_batch
from ppzoo.builders.dry_run import read_config
from ppzoo.builders.evaluation import RunEvaluation, build_run_evaluation, count_images
from ppzoo.builders.export import require_export
from ppzoo.builders.models import class_count
from ppzoo.builders.tta_views import enabled_tta
from ppzoo.config import ComponentSpec, Config, DatasetConfig, DistillationConfig, SamplerConfig, SplitConfig
from ppzoo.errors import ConfigError, DataError, count_text
from ppzoo.files import WEIGHTS
from ppzoo.layers import Classifier
from ppzoo.models import DistillationModel
from ppzoo.progress import track

EXPORT_BATCH = 32
MIN_PROBABILITY = 1e-30  # the logarithm of 0 is not finite


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network with its predictions on the evaluation data, and what is known about it.

    Attributes:
        source: the folder of the run or of the export.
        title: name of the architecture.
        classes: names of the classes, in the order of their indices.
        samples: the evaluated samples.
        metrics: as `ppzoo eval` prints them; `main` is the name of the main one, None without.
        network: the network whose gradients can be computed; None for an export.
        predict: returns the outputs for a batch of preprocessed images, N x C x H x W.
        engine: what runs `predict`.
        weight_files: the files of the weights that were found.
        config: the configuration; None for an export.
        config_text: it, or the settings of the export, as YAML.
        notes: one sentence for each fact that is unknown, and why.
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
    notes: list[str] = field(default_factory=list)

    def read_input(self, position: int) -> np.ndarray:
        """Return the network's input for an evaluated image, C x H x W float32."""
        return self.samples[0, int(self.predictions.indices[position])].image.astype(np.float32, copy=False)

    @property
    def image_shape(self) -> list[int]:
        """Shape of the network's input for the first evaluated image."""
        return list(self.read_input(0).shape)


def read_report_config(source: str, overrides: Sequence[str] = (), images: str | None = None) -> Config:
    """Return the configuration of a run to evaluate.

    Args:
        images: a folder of class folders to evaluate on instead of the data of `DataLoader.Eval`.
    """
    if images is None:
        return read_config(source, overrides, "eval")
    raw = configuration.load(source, overrides, components())
    split = (raw.get("DataLoader") or {}).get("Eval")
    if not isinstance(split, dict) or not isinstance(split.get("dataset"), dict):
        raise ConfigError("DataLoader.Eval: expected the evaluation data, whose transforms --data uses, got nothing")
    if (raw.get("Global") or {}).get("use_multilabel"):
        raise ConfigError("--data: expected a network that predicts one class per image, got Global.use_multilabel")
    kept = {key: split["dataset"][key] for key in ("transform_ops", "on_error") if key in split["dataset"]}
    dataset = {"name": "ImageFolder", "image_root": images, **kept}
    raw["DataLoader"] = {**raw["DataLoader"], "Eval": {**split, "dataset": dataset}}
    return read_config(raw, (), "eval")


def evaluate_run(config: Config) -> EvaluatedNetwork:
    """Evaluate the trained network of a configuration on the data of `DataLoader.Eval`."""
    evaluated = build_run_evaluation(config)
    config, evaluation = evaluated.config, evaluated.evaluation
    dataset = evaluation.samples.dataset
    class_num = class_count(config.Arch)
    recorder = PredictionRecorder(class_num, len(dataset), multi_label=dataset.labels.ndim == 2)
    metrics = evaluated.run(_observer(recorder, config))
    predictions = recorder.finish()
    network = _deployed_network(evaluated)
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
        notes=_evaluation_notes(predictions, len(dataset), config),
    )


def evaluate_export(folder: Path, images: str, device: str) -> EvaluatedNetwork:
    """Evaluate an export on a folder with one subfolder of images per class.

    Raises:
        ConfigError: the export predicts several labels per image.
        DataError: the class folders do not fit the classes of the export.
    """
    engine.select_device(device)
    exported = deploy.open_export(folder)
    require_export(exported)
    name, options = deploy.parse_postprocess(exported.settings["PostProcess"])
    if getattr(deploy.POSTPROCESSES[name], "label_kind", "single") == "multi":
        raise ConfigError(f"--data: expected an export that predicts one class per image, got {folder} with {name}")
    network = _ExportedNetwork(deploy.PaddleEngine(exported))
    labels = list(options["label_list"])
    loader = build_loader(
        _export_data(exported, images),
        class_num=len(labels) or None,
        seed=0,
        training=not labels,
        classes=labels or None,
    )
    class_num = network(read_first_batch(loader).images).shape[1]
    classes = labels or list(loader.samples.dataset.classes or ())
    if len(classes) > class_num or (not labels and len(classes) < class_num):
        raise DataError(f"--data: expected {class_num} classes, those of the export, got {len(classes)}")
    classes += [str(index) for index in range(len(classes), class_num)]
    loss, metrics = (
        build_loss([{"CELoss": None}]),
        build_metrics([{"TopkAcc": {"topk": [1, 5][: 1 + (class_num > 5)]}}]),
    )
    samples = loader.samples
    recorder = PredictionRecorder(class_num, len(samples))
    batches = track(loader.epoch(0), len(samples), "evaluating", count=count_images)
    describe, observe = samples.dataset.describe, _observer(recorder, None)
    results = engine.evaluate(network, batches, loss, metrics, describe=describe, observe=observe)
    predictions = recorder.finish()
    about = exported.settings.get("Global")
    title = about.get("model_name") if isinstance(about, dict) else None
    return EvaluatedNetwork(
        kind="export",
        source=folder,
        title=str(title or folder.resolve().name),
        classes=classes,
        samples=samples,
        metrics=results,
        main=metrics.main,
        predictions=predictions,
        network=None,
        predict=network.engine,
        engine="Paddle Inference",
        weight_files=[exported.parameters],
        config=None,
        config_text=yaml_io.dump(exported.settings),
        notes=[
            "An export has no training history: there are no curves and no training data.",
            "An export has no gradients: there are no Grad-CAM overlays and no map of its features.",
            *([] if labels else ["The export has no class names: classes are numbered in the order of the folders."]),
            *_evaluation_notes(predictions, len(samples), None),
        ],
    )


class _ExportedNetwork(paddle.nn.Layer):
    """An exported program as a layer that returns log-probabilities, which are logits up to a constant."""

    def __init__(self, program: deploy.PaddleEngine) -> None:
        super().__init__()
        self.engine = program

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return paddle.to_tensor(np.log(np.maximum(self.engine(images.numpy()), MIN_PROBABILITY)))


def _export_data(exported: deploy.ExportedModel, images: str) -> SplitConfig:
    """Return the section for a folder of class folders with the transforms of an export."""
    ops = exported.settings["PreProcess"]["transform_ops"]
    if not any("DecodeImage" in op for op in ops):  # in PaddleClas's own exports
        ops = [{"DecodeImage": {}}, *ops]
    dataset = DatasetConfig(
        spec=ComponentSpec("ImageFolder", {"image_root": images}), transform_ops=parse_specs("transform", ops)
    )
    spec = ComponentSpec("DistributedBatchSampler", {})
    return SplitConfig(dataset=dataset, sampler=SamplerConfig(spec=spec, batch_size=EXPORT_BATCH, shuffle=False))


def _observer(recorder: PredictionRecorder, config: Config | None) -> Callable[[Any, Any], None]:
    """Return the function that records the output of the deployed network for each batch."""
    name = config.Arch.infer_model_name if config and isinstance(config.Arch, DistillationConfig) else None

    def observe(batch: Any, output: Any) -> None:
        if name is not None:
            output = output[name]
        scores = output[0] if isinstance(output, (list, tuple)) else output  # the main head comes first
        recorder.add(batch.indices.numpy(), scores.astype("float32").numpy(), batch.labels.numpy())

    return observe


def _deployed_network(evaluated: RunEvaluation) -> Classifier:
    network = evaluated.network
    if isinstance(network, DistillationModel):
        network = dict(network.named_children())[network.inference_arch]
    return deploy.original_network(network)


def _predict_without_gradients(network: Classifier) -> Callable[[np.ndarray], Any]:
    def predict(images: np.ndarray) -> Any:
        network.eval()
        with paddle.no_grad():
            output = network(paddle.to_tensor(images))
        return (output[0] if isinstance(output, (list, tuple)) else output).numpy()

    return predict


def _run_folder(config: Config) -> Path:
    """Return the folder of the weights; the output folder of the configuration for weights that are elsewhere."""
    files = _weight_files(config)
    return files[0].parent if files else Path(config.Global.output_dir) / config.Arch.name


def _weight_files(config: Config) -> list[Path]:
    source = config.Global.pretrained_model or config.Arch.deployed.pretrained
    if not isinstance(source, str):
        return []
    return [path for path in (Path(source), Path(f"{source}{WEIGHTS}")) if path.is_file()]


def _evaluation_notes(predictions: Predictions, images: int, config: Config | None) -> list[str]:
    notes = []
    if len(predictions) < images:
        notes.append(
            f"{count_text(images - len(predictions), 'image')} of the evaluation data"
            f" {'was' if images - len(predictions) == 1 else 'were'} skipped: unreadable, or not part of a full batch"
            " with drop_last."
        )
    if config and enabled_tta(config):
        notes.append("Predictions are those without test-time augmentation; metrics with it end in _tta.")
    if len(predictions.kept) < len(predictions):
        notes.append(f"The temperature was computed from {len(predictions.kept)} of {len(predictions)} images.")
    return notes


def training_config(evaluated: EvaluatedNetwork) -> DatasetConfig | None:
    """Return the section of the training data; None without one."""
    split = evaluated.config.DataLoader.Train if evaluated.config else None
    return replace(split.dataset, transform_ops=None) if split else None
