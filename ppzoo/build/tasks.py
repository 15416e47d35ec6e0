"""What a whole configuration asks for: training, evaluation, inference, export, or only a rehearsal."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo import config as configuration
from ppzoo import data, deploy, engine, models, native, report
from ppzoo.build.components import Section, components, make
from ppzoo.build.networks import load_pretrained, model, require_fit
from ppzoo.build.parts import batch_transforms, dataset, loader, loss, metric, optimizer, read_image, transforms
from ppzoo.config import ArchSection, Configuration, InferSection, PostProcessSection, own_options, settings
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError, DataError, PpzooError
from ppzoo.layers import Classifier

logger = logging.getLogger("ppzoo")

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
LABELS = "labels.txt"


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
    for split in filter(None, (config.get("DataLoader") or {}).values()):
        batch_transforms(split["dataset"].get("batch_transform_ops") or [], _class_num(config))
    for items in (sections.Metric.Train, sections.Metric.Eval):
        metric(items or [])
    optimizer(config["Optimizer"], network, epochs=sections.Global.epochs or 1, steps_per_epoch=1)


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
    native.activate(run.native)
    paddle.seed(seed)

    arch = settings(ArchSection, config["Arch"])
    class_num = _class_num(config)
    train_loader = loader(config["DataLoader"]["Train"], class_num=class_num, seed=seed, training=True)
    warning = data.imbalance(np.bincount(train_loader.samples.dataset.labels)) if _one_label(train_loader) else None
    if warning:
        logger.warning(warning)
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
        report.BadFiles(folder / "bad_files.txt", train_loader.bad_files),
        report.Curves(folder, title=arch.name),
        *([report.Scalars(folder / "vdl")] if run.use_visualdl else []),
        engine.Checkpoints(state, folder, run.save_interval, run.keep, run.save_interval_steps),
    ]
    return folder, trainer


def _one_label(train_loader: Loader) -> bool:
    """Whether each image has one class; else a row of them."""
    return train_loader.samples.dataset.labels.ndim == 1


def _checkpoint(folder: Path, wish: str | None) -> Path | None:
    """The prefix of the checkpoint that is wished for: a prefix, or "auto"."""
    if wish != "auto":
        return Path(wish) if wish else None
    return engine.newest(folder) if folder.is_dir() else None


def evaluation(config: Section) -> dict[str, float]:
    """The figures of the trained network on the data of `DataLoader.Eval`."""
    evaluate, _, _ = _evaluation(config, trained_network(config))
    return evaluate()


def inference(config: Section) -> Iterator[tuple[Path, dict[str, Any] | PpzooError]]:
    """Each image of `Infer.infer_imgs` with the answer about it, or with the error that kept it from being read."""
    section = settings(InferSection, config["Infer"])
    network = deploy.Probabilities(trained_network(config))
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
    network = trained_network(config)
    section = settings(InferSection, config.get("Infer"))
    topk = (section.PostProcess or {}).get("topk", 5)
    content = {
        "Global": {"model_name": config["Arch"]["name"]},
        "PreProcess": {"transform_ops": section.transforms or []},
        "PostProcess": {"Topk": {"topk": topk, "label_list": label_list(config)}},
    }
    folder = Path(sections.Global.save_inference_dir)
    return folder, deploy.export(network, folder, sections.Global.image_shape, content)


def inspection(config: Section) -> Iterator[tuple[str, bool]]:
    """What there is to say of the training and the evaluation images, each read once, and whether that is sound."""
    found = []
    for split in ("Train", "Eval"):
        section = (config.get("DataLoader") or {}).get(split)
        if section:
            images = dataset(section["dataset"], class_num=None)
            found.append(data.inspect_dataset(images, name=f"DataLoader.{split}", class_num=_class_num(config)))
            yield found[-1].text(), found[-1].is_sound
    shared = data.leaks(*found) if len(found) == 2 else []
    for training, evaluation in shared:
        yield f"trained and evaluated on the same image: {training} and {evaluation}", False


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
    return make(deploy.POSTPROCESSES, cfg["name"], options, labels=labels)


def class_labels(config: Section) -> dict[int, str]:
    """Class names: those that the configuration gives, or those that training left beside the weights; else none."""
    section = settings(InferSection, config.get("Infer"))
    chosen = section.PostProcess or {}
    if chosen.get("label_list"):
        return dict(enumerate(chosen["label_list"]))
    if chosen.get("class_id_map_file"):
        return data.read_labels(chosen["class_id_map_file"])
    beside = Path((config.get("Global") or {}).get("pretrained_model") or "").parent / LABELS
    return data.read_labels(beside) if beside.is_file() else {}


def label_list(config: Section) -> list[str]:
    """The name of each class, in order; a class without one is called by its index."""
    labels = class_labels(config)
    return [labels.get(index, str(index)) for index in range(_class_num(config))]


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


def trained_network(config: Section) -> Classifier:
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


def _transform_lists(config: Section) -> list[list[Section]]:
    splits = (config.get("DataLoader") or {}).values()
    lists = [split["dataset"].get("transform_ops") for split in splits if split]
    return [*filter(None, lists), (config.get("Infer") or {}).get("transforms") or []]
