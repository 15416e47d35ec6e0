"""What is done with a trained network: evaluating, asking, exporting; and looking at the data."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo import data, deploy, engine, native
from ppzoo.build.components import Section
from ppzoo.build.networks import class_count, load_pretrained, model, trial
from ppzoo.build.parts import dataset, postprocess, read_image, transforms
from ppzoo.build.training import LABELS, evaluation_of
from ppzoo.config import ArchSection, Configuration, InferSection, settings
from ppzoo.errors import ConfigError, DataError, PpzooError
from ppzoo.layers import Classifier

logger = logging.getLogger("ppzoo")

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def evaluation(config: Section) -> dict[str, float]:
    """The figures of the trained network on the data of `DataLoader.Eval`."""
    return evaluation_of(config, trained_network(config)).run()


def inference(config: Section) -> Iterator[tuple[Path, dict[str, Any] | PpzooError]]:
    """Each image of `Infer.infer_imgs` with the answer about it, or with the error that kept it from being read."""
    section = settings(InferSection, config["Infer"])
    network = deploy.Probabilities(trained_network(config))
    network.eval()
    preprocess = transforms(section.transforms or [])
    answer = postprocess(section.PostProcess or {"name": "Topk"}, class_labels(config))
    files = find_images(section.infer_imgs)
    shape: tuple[int, ...] | None = None
    for start in range(0, len(files), section.batch_size):
        prepared = [_image_or_error(file, preprocess) for file in files[start : start + section.batch_size]]
        images = [image for image in prepared if isinstance(image, np.ndarray)]
        for image in images:
            if shape is None:
                trial(network.network, paddle.to_tensor(image[None]), config["Arch"]["name"])
            elif image.shape != shape:
                raise ConfigError(
                    f"Infer.transforms: expected images of one shape, received {shape} and {image.shape}:"
                    " add ResizeImage with size, or CropImage"
                )
            shape = image.shape
        answers = iter(answer(deploy.run(network, np.stack(images))) if images else [])
        for file, result in zip(files[start:], prepared, strict=False):
            yield file, next(answers) if isinstance(result, np.ndarray) else result


def export(config: Section) -> tuple[Path, float]:
    """Write the trained network for serving; the folder, and how far its answers are from the network's.

    Raises:
        ConfigError: the transforms make other images than `Global.image_shape` says.
    """
    run = settings(Configuration, config).Global
    section = settings(InferSection, config.get("Infer"))
    _require_shape(section.transforms or [], run.image_shape)
    network = trained_network(config)
    content = {
        "Global": {"model_name": config["Arch"]["name"]},
        "PreProcess": {"transform_ops": section.transforms},
        "PostProcess": {"Topk": {"topk": (section.PostProcess or {}).get("topk", 5), "label_list": label_list(config)}},
    }
    folder = Path(run.save_inference_dir)
    return folder, deploy.export(network, folder, run.image_shape, content)


def inspection(config: Section) -> Iterator[tuple[str, bool]]:
    """What there is to say of the training and the evaluation images, each read once, and whether that is sound."""
    found = []
    for split in ("Train", "Eval"):
        section = (config.get("DataLoader") or {}).get(split)
        if section:
            images = dataset(section["dataset"], class_num=None)
            found.append(data.inspect_dataset(images, name=f"DataLoader.{split}", class_num=class_count(config)))
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


def class_labels(config: Section) -> dict[int, str]:
    """Class names: those that the configuration gives, or those that training left beside the weights; else none."""
    chosen = settings(InferSection, config.get("Infer")).PostProcess or {}
    if chosen.get("label_list"):
        return dict(enumerate(chosen["label_list"]))
    if chosen.get("class_id_map_file"):
        return data.read_labels(chosen["class_id_map_file"])
    weights = settings(Configuration, config).Global.pretrained_model
    beside = Path(weights).parent / LABELS if weights else None
    return data.read_labels(beside) if beside and beside.is_file() else {}


def label_list(config: Section) -> list[str]:
    """The name of each class, in order; a class without one is called by its index."""
    labels = class_labels(config)
    return [labels.get(index, str(index)) for index in range(class_count(config))]


def trained_network(config: Section) -> Classifier:
    """The network of `Arch` with the weights that the user named; without any, its answers would mean nothing.

    Raises:
        ConfigError: no weights are named.
        WeightsError: they do not fit, the classifier's head included.
    """
    run = settings(Configuration, config).Global
    engine.select_device(run.device)
    native.activate(run.native)
    arch = settings(ArchSection, config["Arch"])
    source = run.pretrained_model or arch.pretrained
    if not source:
        raise ConfigError(
            "Global.pretrained_model: expected the weights to use, received nothing;"
            f" after training they are in {Path(run.output_dir) / arch.name / 'best_model'}"
        )
    network = model({**config["Arch"], "pretrained": False})
    load_pretrained(network, arch.name, source, ssld=arch.use_ssld, head="strict")
    return network


def _require_shape(ops: Sequence[Section], image_shape: Sequence[int]) -> None:
    blank = np.zeros((2 * image_shape[1], 3 * image_shape[2], image_shape[0]), np.uint8)
    received = transforms(ops)(blank).shape
    if tuple(received) != tuple(image_shape):
        raise ConfigError(
            f"Infer.transforms: expected images of Global.image_shape {list(image_shape)}, received {list(received)}"
        )


def _image_or_error(file: Path, preprocess: data.Compose) -> np.ndarray | DataError:
    try:
        return read_image(file, preprocess)
    except DataError as error:
        return error
