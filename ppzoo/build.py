"""The only module that turns configuration into objects.

Each function takes a section of a configuration in PaddleClas's schema and answers what it describes.
"""

from __future__ import annotations

import glob
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import paddle

from ppzoo import config as configuration
from ppzoo import data, deploy, engine, losses, metrics, models, optim, report, weights
from ppzoo.config import (
    ArchSection,
    Component,
    Configuration,
    DatasetSection,
    InferSection,
    LrSection,
    OptimizerSection,
    PostProcessSection,
    SamplerSection,
    own_options,
    settings,
)
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, DataError, PpzooError
from ppzoo.layers import Classifier, FeatureExtractor
from ppzoo.registry import Registry

logger = logging.getLogger("ppzoo")

Section = Mapping[str, Any]
T = TypeVar("T")

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
LABELS = "labels.txt"

# What the program supplies to the components of a kind, and a configuration may not set.
SUPPLIED = {
    "dataset": {"class_num"},
    "sampler": {"length", "seed", "rank", "world_size", "pad"},
    "lr": {"epochs", "steps_per_epoch"},
    "postprocess": {"labels"},
}


# --- configurations -------------------------------------------------------------------------------------------------


def components() -> dict[str, dict[str, Component]]:
    """Everything that a configuration may name, by kind and name, with its options."""
    tables: dict[str, Registry] = {
        "loss": losses.LOSSES,
        "metric": metrics.METRICS,
        "optimizer": optim.OPTIMIZERS,
        "regularizer": optim.REGULARIZERS,
        "lr": optim.SCHEDULES,
        "dataset": data.DATASETS,
        "transform": data.TRANSFORMS,
        "sampler": data.SAMPLERS,
        "postprocess": deploy.POSTPROCESSES,
    }
    found = {
        kind: {name: Component.of(entry, SUPPLIED.get(kind, ()), name) for name, entry in table.items()}
        for kind, table in tables.items()
    }
    found["arch"] = {name: Component.of(entry.network, entry.fixed, name) for name, entry in models.MODELS.items()}
    return found


def read_config(path: str, overrides: Sequence[str], task: configuration.Task) -> dict[str, Any]:
    """The configuration of a file with its overrides, checked for `task`.

    Raises:
        ConfigError: all that is wrong with it, files that do not exist included.
    """
    config = configuration.load(path, overrides)
    problems = configuration.check(config, components(), task) or configuration.check_files(config, task)
    if problems:
        raise ConfigError(*problems)
    return config


def rehearse(path: str, overrides: Sequence[str]) -> None:
    """Build everything that a configuration describes but its data.

    Raises:
        ConfigError: all that is wrong with it; missing data is not.
    """
    config = configuration.load(path, overrides)
    problems = configuration.check(config, components())
    if problems:
        raise ConfigError(*problems)
    sections = settings(Configuration, config)
    network = model({**config["Arch"], "pretrained": False})
    loss(sections.Loss.Train or [])
    for ops in _transform_lists(config):
        transforms(ops)
    for items in (sections.Metric.Train, sections.Metric.Eval):
        metric(items or [])
    optimizer(config["Optimizer"], network, epochs=sections.Global.epochs or 1, steps_per_epoch=1)


def _transform_lists(config: Section) -> list[list[Section]]:
    splits = (config.get("DataLoader") or {}).values()
    lists = [split["dataset"].get("transform_ops") for split in splits if split]
    return [*filter(None, lists), (config.get("Infer") or {}).get("transforms") or []]


def _make(table: Registry[type[T]], name: str, options: Section | None, **supplied: Any) -> T:
    """The entry `name` of a registry, called with a configuration's options and what the program supplies."""
    entry = table[name]
    arguments = {**(options or {}), **supplied}
    try:
        inspect.signature(entry).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{table.kind} {name}: {error}") from error
    try:
        return entry(**arguments)
    except ConfigError as error:
        raise ConfigError(*(f"{table.kind} {name}: {problem}" for problem in error.problems)) from error


def _items(cfg: Sequence[Section]) -> list[tuple[str, Section | None]]:
    """The (name, options) of a list of single-key mappings."""
    return [next(iter(item.items())) for item in cfg]


# --- networks -------------------------------------------------------------------------------------------------------


def create_model(
    name: str,
    pretrained: bool | str = False,
    *,
    class_num: int | None = None,
    features_only: bool = False,
    **kwargs: Any,
) -> Classifier | FeatureExtractor:
    """The network called `name`.

    Args:
        pretrained: True loads the official weights, a path or URL those; a head of another `class_num` starts afresh.
        class_num: number of classes; the architecture's own by default (1000 for those of ImageNet).
        features_only: answer a network whose output is the list of its feature maps.
        kwargs: options of the architecture, such as `data_format` or `dropout_prob`.

    Raises:
        UnknownNameError: there is no such architecture.
        ConfigError: an option that it does not have.
        WeightsError: weights that do not fit, or that do not exist.
    """
    options = kwargs if class_num is None else {"class_num": class_num, **kwargs}
    network = models.MODELS[name].build(**options)
    if pretrained:
        load_pretrained(network, name, pretrained)
    return FeatureExtractor(network) if features_only else network


def load_pretrained(
    network: Classifier, name: str, source: bool | str, *, ssld: bool = False, head: str = "auto"
) -> None:
    """Load the official weights of `name` (True), or those of a path or URL, and say what was loaded."""
    if source is True:
        variant = models.MODELS[name]
        record = variant.ssld if ssld else variant.weights
        if record is None:
            kind = "SSLD weights" if ssld else "official weights"
            raise ConfigError(f"Arch.pretrained: there are no {kind} of {name}; give a path or a URL")
        source = record.url
    logger.info("%s", weights.load_weights(network, str(source), head=head, candidates=models.all_shapes()))


def model(cfg: Section) -> Classifier:
    """The network of the section `Arch`, with the pretrained weights that it asks for."""
    arch = settings(ArchSection, cfg)
    options = own_options(ArchSection, cfg)
    network = models.MODELS[arch.name].build(**options)
    if arch.pretrained:
        load_pretrained(network, arch.name, arch.pretrained, ssld=arch.use_ssld)
    return network


# --- losses, metrics, optimizers ------------------------------------------------------------------------------------


def loss(cfg: Sequence[Section]) -> losses.CombinedLoss:
    """The weighted sum of a list such as `[{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]`.

    Called with (output, label) it answers every loss by name, and their sum as "loss".
    """
    terms = []
    for name, options in _items(cfg):
        own = dict(options or {})
        weight = own.pop("weight", 1.0)
        terms.append((_make(losses.LOSSES, name, own), weight))
    return losses.CombinedLoss(terms)


def metric(cfg: Sequence[Section]) -> metrics.MetricList:
    """The metrics of a list such as `[{"TopkAcc": {"topk": [1, 5]}}]`."""
    return metrics.MetricList([_make(metrics.METRICS, name, options) for name, options in _items(cfg)])


def lr_schedule(cfg: Section, *, epochs: int, steps_per_epoch: int) -> optim.Schedule:
    """The schedule of the section `Optimizer.lr`, to be stepped once a training step."""
    options = own_options(LrSection, cfg)
    name = settings(LrSection, cfg).name
    return _make(optim.SCHEDULES, name, options, epochs=epochs, steps_per_epoch=steps_per_epoch)


def optimizer(
    cfg: Section, model: paddle.nn.Layer, *, epochs: int, steps_per_epoch: int
) -> tuple[paddle.optimizer.Optimizer, optim.Schedule]:
    """The optimizer of the section `Optimizer` over a model's parameters, and its schedule."""
    schedule = lr_schedule(cfg["lr"], epochs=epochs, steps_per_epoch=steps_per_epoch)
    options = own_options(OptimizerSection, cfg)
    if cfg.get("regularizer") is not None:
        options["regularizer"] = cfg["regularizer"]
    return _make(optim.OPTIMIZERS, cfg["name"], options).build(model, schedule), schedule


# --- data -----------------------------------------------------------------------------------------------------------


def transforms(ops: Sequence[Section]) -> data.Compose:
    """The transforms of a list such as `[{"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}]`.

    The result takes an H x W x C uint8 RGB image, or encoded bytes where the list begins with `DecodeImage`.
    """
    return data.Compose([_make(data.TRANSFORMS, name, options) for name, options in _items(ops)])


def loader(cfg: Section, *, class_num: int | None, seed: int, training: bool) -> Loader:
    """The batches of the section `DataLoader.Train` or `DataLoader.Eval`."""
    shared = settings(DatasetSection, cfg["dataset"])
    dataset: data.Dataset = _make(
        data.DATASETS, shared.name, own_options(DatasetSection, cfg["dataset"]), class_num=class_num
    )
    samples = data.Samples(dataset, transforms(shared.transform_ops or []), seed)
    sampling = settings(SamplerSection, cfg["sampler"])
    options = {key: value for key, value in cfg["sampler"].items() if key != "name"}
    sampler: data.Sampler = _make(data.SAMPLERS, sampling.name, options, length=len(samples), seed=seed, pad=training)
    reading = settings(configuration.LoaderSection, cfg.get("loader"))
    return Loader(samples, sampler, num_workers=reading.num_workers, use_shared_memory=reading.use_shared_memory)


def require_fit(network: paddle.nn.Layer, image: np.ndarray, name: str) -> None:
    """Let the network called `name` look at one image, C x H x W, before much depends on it.

    Raises:
        ConfigError: it cannot take images of that shape.
    """
    was_training = network.training
    network.eval()
    try:
        deploy.run(network, image[None])
    except ValueError as error:  # what PaddlePaddle's operators raise of shapes that do not go together
        received, native = (" x ".join(map(str, shape)) for shape in (image.shape, models.MODELS[name].image_shape))
        raise ConfigError(
            f"transform_ops: expected images that {name} can take (natively {native}), received {received}"
        ) from error
    if was_training:
        network.train()


def read_image(path: Path, preprocess: data.Compose) -> np.ndarray:
    """An image file as the network wants it.

    Raises:
        DataError: the file cannot be read or is no image.
    """
    try:
        return preprocess(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: expected an image, received: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


# --- the four tasks -------------------------------------------------------------------------------------------------


def training(config: Section, resume: str | None = None) -> tuple[Path, engine.Trainer]:
    """The folder of the run, and the trainer that fills it. Nothing is written before everything is built.

    Args:
        resume: the prefix of a checkpoint to go on from, or "auto" for the newest whole one of the folder, if any;
            `Global.checkpoints` by default.
    """
    sections = settings(Configuration, config)
    run = sections.Global
    epochs, seed = run.epochs or 0, run.seed or 0
    engine.select_device(run.device)
    paddle.seed(seed)

    arch = settings(ArchSection, config["Arch"])
    class_num = _class_num(config)
    train_loader = loader(config["DataLoader"]["Train"], class_num=class_num, seed=seed, training=True)
    network = model(config["Arch"])
    evaluate, main, higher_is_better = None, "loss", False
    if run.eval_during_train and sections.DataLoader.Eval is not None:
        evaluate, main, higher_is_better = _evaluation(config, network)
    if run.pretrained_model:
        load_pretrained(network, arch.name, run.pretrained_model)
    require_fit(network, train_loader.samples[(0, 0)].image, arch.name)
    optimiser, schedule = optimizer(config["Optimizer"], network, epochs=epochs, steps_per_epoch=len(train_loader))
    identity = {
        "architecture": arch.name,
        "class_num": class_num,
        "data set": config["DataLoader"]["Train"]["dataset"]["name"],
        "number of samples": len(train_loader.samples),
        "steps per epoch": len(train_loader),
    }
    state = engine.TrainState(
        network, optimiser, schedule, metric(sections.Metric.Train or []), seed=seed, identity=identity
    )
    folder = Path(run.output_dir) / arch.name
    checkpoint = _checkpoint(folder, resume or run.checkpoints)
    if checkpoint is not None:
        engine.restore(state, checkpoint)
        logger.info("going on from %s, epoch %d, step %d", checkpoint, state.progress.epoch + 1, state.progress.step)
    trainer = engine.Trainer(
        state=state,
        loader=train_loader,
        loss=loss(sections.Loss.Train or []),
        evaluate=evaluate,
        plan=engine.Plan(epochs, run.eval_interval, run.start_eval_epoch, main, higher_is_better),
        describe=train_loader.samples.dataset.describe,
    )

    resumes_here = checkpoint is not None and checkpoint.resolve().parent == folder.resolve()
    engine.open_folder(folder, resume=resumes_here)
    (folder / "config.yaml").write_text(configuration.dump(config), encoding="utf-8")
    _write_labels(train_loader.samples.dataset, folder)
    trainer.callbacks += [
        report.Console(folder / "train.log", run.print_batch_step),
        report.Curves(folder, title=arch.name),
        *([report.Scalars(folder / "vdl")] if run.use_visualdl else []),
        engine.Checkpoints(state, folder, run.save_interval, run.keep, run.save_interval_steps),
    ]
    return folder, trainer


def _checkpoint(folder: Path, wish: str | None) -> Path | None:
    """The prefix of the checkpoint that is wished for: a prefix, or "auto"."""
    if wish != "auto":
        return Path(wish) if wish else None
    return engine.newest(folder) if folder.is_dir() else None


def evaluation(config: Section) -> dict[str, float]:
    """The figures of the trained network on the data of `DataLoader.Eval`."""
    evaluate, _, _ = _evaluation(config, _trained_network(config))
    return evaluate()


def inference(config: Section) -> Iterator[tuple[Path, dict[str, Any] | PpzooError]]:
    """Each image of `Infer.infer_imgs` with the answer about it, or with the error that kept it from being read."""
    section = settings(InferSection, config["Infer"])
    network = deploy.Probabilities(_trained_network(config))
    network.eval()
    preprocess = transforms(section.transforms or [])
    answer = postprocess(section.PostProcess or {"name": "Topk"}, class_labels(config))
    files = find_images(section.infer_imgs)
    name, shape = config["Arch"]["name"], None
    for start in range(0, len(files), section.batch_size):
        batch = files[start : start + section.batch_size]
        prepared = {file: _image_or_error(file, preprocess) for file in batch}
        images = [image for image in prepared.values() if isinstance(image, np.ndarray)]
        for image in images:
            if shape is None:
                require_fit(network.network, image, name)
            elif image.shape != shape:
                raise ConfigError(
                    f"Infer.transforms: expected images of one shape, received {shape} and {image.shape}:"
                    " add ResizeImage with size, or CropImage"
                )
            shape = image.shape
        answers = iter(answer(deploy.run(network, np.stack(images))) if images else [])
        for file, result in prepared.items():
            yield file, next(answers) if isinstance(result, np.ndarray) else result


def export(config: Section) -> tuple[Path, float]:
    """Write the trained network for serving; the folder, and how far its answers are from the network's."""
    sections = settings(Configuration, config)
    network = _trained_network(config)
    labels = class_labels(config)
    section = settings(InferSection, config.get("Infer"))
    topk = (section.PostProcess or {}).get("topk", 5)
    names = [labels.get(index, str(index)) for index in range(_class_num(config))]
    content = {
        "Global": {"model_name": config["Arch"]["name"]},
        "PreProcess": {"transform_ops": section.transforms or []},
        "PostProcess": {"Topk": {"topk": topk, "label_list": names}},
    }
    folder = Path(sections.Global.save_inference_dir)
    return folder, deploy.export(network, folder, sections.Global.image_shape, content)


def find_images(source: str | Sequence[str] | None) -> list[Path]:
    """The image files of a path, a folder, a pattern or a list of them, sorted.

    Raises:
        DataError: there are none.
    """
    files: list[Path] = []
    for name in [source] if isinstance(source, str) else source or []:
        if Path(name).is_dir():
            found = [file for file in Path(name).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES]
        elif Path(name).is_file():
            found = [Path(name)]
        else:
            found = [Path(file) for file in glob.glob(name, recursive=True) if Path(file).is_file()]
        if not found:
            raise DataError(
                f"Infer.infer_imgs: expected an image, a folder with images or a pattern that matches some,"
                f" received {name!r}"
            )
        files += sorted(found)
    if not files:
        raise DataError("Infer.infer_imgs: expected an image, a folder or a pattern, received nothing")
    return files


def postprocess(cfg: Section, labels: Mapping[int, str]) -> Callable[[np.ndarray], list[dict[str, Any]]]:
    """What makes answers of probabilities, from the section `Infer.PostProcess`."""
    options = own_options(PostProcessSection, cfg)
    return _make(deploy.POSTPROCESSES, cfg["name"], options, labels=labels)


def class_labels(config: Section) -> dict[int, str]:
    """Class names: those of `class_id_map_file`, or those that training left beside the weights; else none."""
    section = settings(InferSection, config.get("Infer"))
    if section.PostProcess and section.PostProcess.get("class_id_map_file"):
        return data.read_labels(section.PostProcess["class_id_map_file"])
    beside = Path((config.get("Global") or {}).get("pretrained_model") or "").parent / LABELS
    return data.read_labels(beside) if beside.is_file() else {}


def _write_labels(dataset: data.Dataset, folder: Path) -> None:
    if dataset.classes:
        lines = [f"{index} {name}\n" for index, name in enumerate(dataset.classes)]
        (folder / LABELS).write_text("".join(lines), encoding="utf-8")


def _class_num(config: Section) -> int:
    variant = models.MODELS[config["Arch"]["name"]]
    return config["Arch"].get("class_num", variant.class_num)


def _evaluation(config: Section, network: paddle.nn.Layer) -> tuple[Callable[[], dict[str, float]], str, bool]:
    """What evaluates `network` on the evaluation data, its main figure, and whether more of that is better."""
    sections = settings(Configuration, config)
    batches = loader(config["DataLoader"]["Eval"], class_num=_class_num(config), seed=0, training=False)
    criterion = loss(sections.Loss.Eval or sections.Loss.Train or [])
    figures = metric(sections.Metric.Eval or [])

    def evaluate() -> dict[str, float]:
        return engine.evaluate(network, batches.epoch(0), criterion, figures)

    if not figures.main:
        return evaluate, "loss", False
    return evaluate, figures.main, figures.higher_is_better


def _trained_network(config: Section) -> Classifier:
    """The network of `Arch` with the weights that the user named; without any, its answers would mean nothing."""
    run = settings(Configuration, config).Global
    engine.select_device(run.device)
    arch = settings(ArchSection, config["Arch"])
    if not (run.pretrained_model or arch.pretrained):
        raise ConfigError(
            "Global.pretrained_model: expected the weights to use, received nothing;"
            f" after training they are in {Path(run.output_dir) / arch.name / 'best_model'}"
        )
    network = model(config["Arch"])
    if run.pretrained_model:
        load_pretrained(network, arch.name, run.pretrained_model, head="strict")
    return network


def _image_or_error(file: Path, preprocess: data.Compose) -> np.ndarray | DataError:
    try:
        return read_image(file, preprocess)
    except DataError as error:
        return error
