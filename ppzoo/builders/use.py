"""What is done with a trained network: evaluating, asking, exporting; and looking at the data."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo import data, deploy, engine, native
from ppzoo.builders.class_names import (
    EVAL_DATA,
    TRAIN_DATA,
    class_labels,
    data_notes,
    evaluation_names,
    label_list,
    require_two_classes,
    starting_names,
    with_class_names,
    with_classes_of_data,
    with_classes_of_run,
)
from ppzoo.builders.components import Section
from ppzoo.builders.models import (
    build_model,
    class_count,
    inference_arch,
    inference_model_name,
    load_pretrained,
    networks_in_losses,
    try_forward,
)
from ppzoo.builders.parts import build_dataset, build_postprocess, build_transforms, read_image, require_image_shape
from ppzoo.builders.preprocessing import warn_of_preprocessing
from ppzoo.builders.training import evaluation_of
from ppzoo.builders.tta_views import describe_views, evaluate_views, mirrors, tta, views
from ppzoo.config import Configuration, DistillationSection, InferSection, PostProcessSection, own_options, settings
from ppzoo.errors import ConfigError, DataError, PpzooError
from ppzoo.files import local_path, weights_of_run
from ppzoo.layers import Classifier
from ppzoo.models import DistillationModel

logger = logging.getLogger("ppzoo")


def evaluate(config: Section, processes: engine.ProcessGroup = engine.SINGLE_PROCESS) -> dict[str, float]:
    """The figures of the trained network on the data of `DataLoader.Eval`, which `processes` share.

    With test-time augmentation those with it are there, too, under names that end in `_tta`.
    """
    config = with_classes_of_run(config)
    config = with_class_names(config, evaluation_names(config))
    network, augmentation = _evaluated_network(config), tta(config)
    figures = evaluation_of(config, network, processes).run()
    if augmentation:
        with_views = evaluate_views(config, network, augmentation, processes)
        figures |= {f"{name}_tta": value for name, value in with_views.items()}
    return figures


def predict(config: Section) -> Iterator[tuple[Path, dict[str, Any] | PpzooError]]:
    """Each image of `Infer.infer_imgs` with the answer about it, or with the error that kept it from being read."""
    config = with_classes_of_run(config)
    section = settings(InferSection, config["Infer"])
    scores = deploy.accelerate_eval(inference_network(config))
    network = deploy.Probabilities(scores, multi_label=is_multi_label(config))
    network.eval()
    augmentation = tta(config)
    lists = views(section.transforms or [], augmentation, "Infer.transforms")
    preprocess = [build_transforms(ops) for ops in lists]
    if augmentation:
        logger.info("answers are means over %s", describe_views(augmentation, len(lists)))
    answer = build_postprocess(_postprocess(config), class_labels(config))
    files = find_images(section.infer_imgs)
    shapes: list[tuple[int, ...]] | None = None
    for start in range(0, len(files), section.batch_size):
        prepared = [_views_or_error(file, preprocess) for file in files[start : start + section.batch_size]]
        readable = [image for image in prepared if isinstance(image, list)]
        names = [str(file) for file, image in zip(files[start:], prepared, strict=False) if isinstance(image, list)]
        for image in readable:
            received = [view.shape for view in image]
            if shapes is None:
                for view in image:
                    one = paddle.to_tensor(view[None])
                    name = inference_arch(config["Arch"])["name"]
                    try_forward(network.network, one, name, "Infer.transforms", names.__getitem__)
                    deploy.export_if_worthwhile(network, len(files), one)
            elif received != shapes:
                ((old, new), *_) = [pair for pair in zip(shapes, received, strict=True) if pair[0] != pair[1]]
                raise ConfigError(
                    f"Infer.transforms: expected images of one shape, got {old} and {new}:"
                    " add ResizeImage with size, or CropImage"
                )
            shapes = received
        answers = iter(answer(_mean_answer(network, readable, names, mirrors(augmentation))) if readable else [])
        for file, result in zip(files[start:], prepared, strict=False):
            yield file, next(answers) if isinstance(result, list) else result


def export_model(config: Section) -> tuple[Path, float]:
    """Write the trained network for serving; the folder, and how far its answers are from the network's.

    Raises:
        ConfigError: the transforms make other images than `Global.image_shape` says.
    """
    config = with_classes_of_run(config)
    run = settings(Configuration, config).Global
    section = settings(InferSection, config.get("Infer"))
    require_image_shape(section.transforms or [], run.image_shape)
    warn_of_preprocessing(config)
    network = inference_network(config)
    content = {
        "Global": {"model_name": inference_arch(config["Arch"])["name"]},
        "PreProcess": {"transform_ops": section.transforms},
        "PostProcess": exported_postprocess(config),
    }
    folder = local_path(run.save_inference_dir, "Global.save_inference_dir")
    return folder, deploy.export(network, folder, run.image_shape, content, multi_label=is_multi_label(config))


def is_multi_label(config: Section) -> bool:
    """Whether an image may have several labels: then each class has a probability of its own."""
    return settings(Configuration, config).Global.use_multilabel


def exported_postprocess(config: Section) -> dict[str, dict[str, Any]]:
    """`Infer.PostProcess` as `{name: options}`, with the label names instead of a file of them."""
    chosen = _postprocess(config)
    name, options = chosen["name"], own_options(PostProcessSection, chosen)
    if name == "DistillationPostProcess":  # of one network no distillation is left
        name = options.pop("func", "Topk")
        options = {key: value for key, value in options.items() if key in ("topk", "threshold") and value is not None}
    if name == "Topk":
        options.setdefault("topk", 5)
    return {name: {**options, "label_list": label_list(config)}}


def _postprocess(config: Section) -> Section:
    """The section `Infer.PostProcess`, or what there is without one."""
    default = {"name": "MultiLabelThreshOutput" if is_multi_label(config) else "Topk"}
    return settings(InferSection, config.get("Infer")).PostProcess or default


def inspect_data(config: Section) -> Iterator[tuple[str, bool]]:
    """What there is to say of the training and the evaluation images, each read once, and whether that is sound."""
    config = with_classes_of_data(config)
    found = []
    names = starting_names(config)
    for split, place in (("Train", TRAIN_DATA), ("Eval", EVAL_DATA)):
        section = (config.get("DataLoader") or {}).get(split)
        if not section:
            continue
        images = build_dataset(section["dataset"], class_num=None)
        try:
            images = data.match_classes(images, names) if names and images.classes else images
            if split == "Train":
                names = names or images.classes
                require_two_classes(images)
        except DataError as error:
            yield f"DataLoader.{split}: {error}", False
        found.append(data.inspect_dataset(images, name=f"DataLoader.{split}", class_num=class_count(config)))
        yield found[-1].text(), found[-1].is_sound
        for _, note in data_notes(place, images, class_count(config)):
            yield note, True
    shared = data.shared_images(*found) if len(found) == 2 else []
    for training, evaluation in shared:
        yield f"trained and evaluated on the same image: {training} and {evaluation}", False


def find_images(source: str | Sequence[str] | None) -> list[Path]:
    """The image files of a path, a folder, a pattern or a list of them, sorted.

    Raises:
        DataError: there are none.
    """
    files: list[Path] = []
    for name in [source] if isinstance(source, str) else source or []:
        if os.path.isdir(name):
            found = [Path(file) for file in data.iter_images(name)]
        elif os.path.isfile(name):
            found = [Path(name)]
        else:
            found = [Path(file) for file in glob.glob(name, recursive=True) if os.path.isfile(file)]
        if not found:
            raise DataError(
                f"Infer.infer_imgs: expected an image, a folder with images or a pattern that matches some,"
                f" got {name!r}"
            )
        files += sorted(found)
    if not files:
        raise DataError("Infer.infer_imgs: expected an image, a folder or a pattern, got nothing")
    return files


def load_trained_network(config: Section) -> Classifier | DistillationModel:
    """The network of `Arch` with the weights that the user named; without any, its answers would mean nothing.

    Raises:
        ConfigError: no weights are named.
        WeightsError: they do not fit, the classifier's head included.
    """
    return _with_weights(config, config["Arch"], part="")


def inference_network(config: Section) -> Classifier:
    """`trained_network`, but of a distillation only the network that answers, from weights of the whole or its own."""
    return _with_weights(config, inference_arch(config["Arch"]), part=inference_model_name(config["Arch"]))


def _evaluated_network(config: Section) -> Any:
    """The network whose figures are wanted: of a distillation only the one that answers, if they are about it alone.

    The weights may then be those of the whole or its own, as for `answering_network`.
    """
    if not inference_model_name(config["Arch"]):
        return deploy.accelerate_eval(load_trained_network(config))
    name = settings(DistillationSection, config["Arch"]).infer_model_name
    if networks_in_losses(config, "Eval") != {name}:
        return load_trained_network(config)
    return DistillationModel({name: deploy.accelerate_eval(inference_network(config))}, frozen=[], inference_arch=name)


def _with_weights(config: Section, arch: Section, part: str) -> Any:
    run = settings(Configuration, config).Global
    source = run.pretrained_model or arch.get("pretrained")
    if not source:
        folder = Path(run.output_dir) / config["Arch"]["name"]
        there = weights_of_run(folder)
        where = f"those of the run are {there}" if there else f"after training they are in {folder / 'best_model'}"
        raise ConfigError(f"Global.pretrained_model: expected the weights to use, got nothing; {where}")
    engine.select_device(run.device)
    native.set_mode(run.native)
    network = build_model(arch, pretrained=False)
    load_pretrained(network, arch["name"], source, ssld=arch.get("use_ssld", False), head="strict", part=part)
    return network


def _mean_answer(
    network: deploy.Probabilities, images: list[list[np.ndarray]], names: list[str], mirror: bool
) -> np.ndarray:
    """Probabilities of some images, each the mean over its views and, with `mirror`, their mirror images."""
    stacks = [np.stack(view) for view in zip(*images, strict=True)]
    stacks += [np.ascontiguousarray(stack[..., ::-1]) for stack in stacks] if mirror else []
    return np.mean([deploy.predict_probabilities(network, stack, names.__getitem__) for stack in stacks], axis=0)


def _views_or_error(file: Path, preprocess: Sequence[data.Compose]) -> list[np.ndarray] | DataError:
    try:
        return [read_image(file, view) for view in preprocess]
    except DataError as error:
        return error
