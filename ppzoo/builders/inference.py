"""Predict images with a trained network, and load trained networks."""

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
from ppzoo.builders.class_names import add_classes_of_run, read_class_labels
from ppzoo.builders.component_factory import build_postprocess, build_transforms
from ppzoo.builders.data_loading import read_image
from ppzoo.builders.models import build_model, load_pretrained, try_forward
from ppzoo.builders.tta_views import describe_views, enabled_tta, make_views
from ppzoo.config import ComponentSpec, Config, NetworkConfig, PostProcessConfig
from ppzoo.errors import ConfigError, DataError, PpzooError, errors_with_key
from ppzoo.files import ARCHIVE_SUFFIXES, describe_absence, is_url, weights_of_run
from ppzoo.layers import Classifier
from ppzoo.models import DistillationModel
from ppzoo.progress import track

logger = logging.getLogger("ppzoo")

TRANSFORMS = "Infer.transforms"


def predict(config: Config, images: Sequence[str] = ()) -> Iterator[tuple[Path, dict[str, Any] | PpzooError]]:
    """Yield each image with its prediction, or with the error that occurred when it was read.

    Args:
        images: files, folders and patterns; by default those of `Infer.infer_imgs`.
    """
    config = add_classes_of_run(config)
    files = find_images(images, key="IMAGE") if images else find_images(config.Infer.infer_imgs)
    network, size = InferenceNetwork(config, len(files)), config.Infer.batch_size
    batches = [files[start : start + size] for start in range(0, len(files), size)]
    for batch in track(batches, len(files), "predicting", count=len, is_printed=True):
        prepared = [_read_views(file, network.preprocess) for file in batch]
        readable = [image for image in prepared if isinstance(image, list)]
        names = [str(file) for file, image in zip(batch, prepared, strict=True) if isinstance(image, list)]
        for views in readable:
            network.check(views, names)
        stacks = [np.stack(view) for view in zip(*readable, strict=True)]
        results = iter(network.predict(stacks, names) if readable else [])
        for file, image in zip(batch, prepared, strict=True):
            yield file, next(results) if isinstance(image, list) else image


class InferenceNetwork:
    """The trained network of a configuration with its preprocessing and its postprocessing.

    Args:
        config: with the names of the classes.
        image_count: number of images; on the CPU, the network is exported for many of them, since exports are faster.

    Attributes:
        preprocess: the transforms of each view of an image.
        labels: class index -> name.
        postprocess: turns N x class_num probabilities into predictions.
    """

    def __init__(self, config: Config, image_count: int) -> None:
        self.config, self._image_count = config, image_count
        augmentation = enabled_tta(config)
        scores = deploy.accelerate_eval(load_inference_network(config))
        self.network = deploy.Probabilities(scores, multi_label=config.Global.use_multilabel)
        self.network.eval()
        lists = make_views(config.Infer.transforms or (), augmentation, TRANSFORMS)
        self.preprocess = [build_transforms(ops) for ops in lists]
        if augmentation:
            logger.info("predictions are means over %s", describe_views(augmentation, len(lists)))
        self.labels = read_class_labels(config)
        self.postprocess = build_postprocess(choose_postprocess(config), self.labels)
        self._mirrors = augmentation is not None and augmentation.mirrors
        self._shapes: list[tuple[int, ...]] | None = None

    def check(self, image: list[np.ndarray], names: list[str]) -> None:
        """Check that the network accepts the views of an image, whose shapes have to be those of the image before it.

        For the first image, also export the network if there are enough images (see `image_count`).

        Raises:
            ConfigError: the network does not accept the image, or a shape differs.
        """
        for view in image if self._shapes is None else ():
            batch = paddle.to_tensor(view[None])
            try_forward(self.network.network, batch, self.config.Arch.deployed.name, TRANSFORMS, names.__getitem__)
            deploy.export_if_worthwhile(self.network, self._image_count, batch)
        self._shapes = require_equal_shapes(self._shapes, image)

    def predict(self, stacks: list[np.ndarray], names: list[str]) -> list[dict[str, Any]]:
        """Return the predictions of images.

        Args:
            stacks: all images of each view.
            names: the names of the images in error messages.
        """
        return self.postprocess(mean_probabilities(self.network, stacks, names, self._mirrors))


def require_equal_shapes(expected: list[tuple[int, ...]] | None, image: list[np.ndarray]) -> list[tuple[int, ...]]:
    """Return the shapes of the views of an image, after a check that they are those of the images before it.

    Raises:
        ConfigError: they differ.
    """
    shapes = [view.shape for view in image]
    if expected is not None and shapes != expected:
        ((one, other), *_) = [pair for pair in zip(expected, shapes, strict=True) if pair[0] != pair[1]]
        raise ConfigError(
            f"{TRANSFORMS}: expected images of equal shape, got {one} and {other}:"
            " add ResizeImage with size, or CropImage"
        )
    return shapes


def _read_views(file: Path, preprocess: Sequence[data.Compose]) -> list[np.ndarray] | DataError:
    try:
        return [read_image(file, view) for view in preprocess]
    except DataError as error:
        return error
    except ConfigError as error:
        error.add_key(TRANSFORMS)
        raise


def mean_probabilities(
    network: deploy.Probabilities, stacks: list[np.ndarray], names: list[str], mirror: bool
) -> np.ndarray:
    """Return the probabilities of images, each the mean over its views and, with `mirror`, their mirror images.

    Args:
        stacks: all images of each view.
        names: the names of the images in error messages.
    """
    mirrored = [np.ascontiguousarray(stack[..., ::-1]) for stack in stacks] if mirror else []
    views = [*stacks, *mirrored]
    return np.mean([deploy.predict_probabilities(network, view, names.__getitem__) for view in views], axis=0)


def choose_postprocess(config: Config) -> PostProcessConfig:
    """Return `Infer.PostProcess`, or a default."""
    default = "MultiLabelThreshOutput" if config.Global.use_multilabel else "Topk"
    return config.Infer.PostProcess or PostProcessConfig(spec=ComponentSpec(default))


def find_images(source: str | Sequence[str] | None, *, key: str = "Infer.infer_imgs") -> list[Path]:
    """Return the files of a path, a folder or a pattern, or of a list of these.

    The image files of a folder, at any depth, and the files of a pattern are sorted; a list keeps its order.

    Args:
        key: the key or argument whose value is `source`, for messages.

    Raises:
        DataError: there is no file of a path, folder or pattern.
    """
    files: list[Path] = []
    for name in [source] if isinstance(source, str) else source or []:
        if os.path.isdir(name):
            with errors_with_key(key):
                found = [Path(file) for file in data.iter_images(name)]
        elif os.path.isfile(name):
            if name.lower().endswith(ARCHIVE_SUFFIXES):
                raise DataError(f"{key}: expected an image, got {name!r}: extract the images of the archive")
            found = [Path(name)]
        else:
            found = [Path(file) for file in glob.glob(name, recursive=True) if os.path.isfile(file)]
        if not found:
            reason = _describe_folder(name) if os.path.isdir(name) else _describe_pattern(name)
            raise DataError(f"{key}: expected an image, a folder of images or a pattern, got {name!r}, which {reason}")
        files += sorted(found)
    if not files:
        raise DataError(f"{key}: expected an image, a folder or a pattern, got nothing; add IMAGE to the command")
    return files


def _describe_pattern(name: str) -> str:
    """Return why a path or pattern is no input."""
    if is_url(name):
        return "is a URL: download it"
    return "matches no file" if glob.has_magic(name) else describe_absence(name)


def _describe_folder(folder: str) -> str:
    """Return why a folder without images is no input."""
    has_archives = any(name.endswith(".tar") for name in os.listdir(folder))
    return "contains .tar files: extract their images" if has_archives else "contains no images"


def load_trained_network(config: Config) -> Classifier | DistillationModel:
    """Build the network of `Arch` with the weights that the configuration names.

    Raises:
        ConfigError: it names no weights.
        WeightsError: the weights, including those of the classifier head, do not fit the network.
    """
    return _load_network(config, config.Arch, part="")


def load_inference_network(config: Config) -> Classifier:
    """Do the same as `load_trained_network`, but for a distillation build only the deployed network.

    Its weights can be in a file of all networks or in a separate file.
    """
    return _load_network(config, config.Arch.deployed, part=config.Arch.deployed_prefix)


def _load_network(config: Config, arch: NetworkConfig, part: str) -> Any:
    source = config.Global.pretrained_model or arch.pretrained
    key = "Global.pretrained_model" if config.Global.pretrained_model else "Arch.pretrained"
    if not source:
        folder = Path(config.Global.output_dir) / config.Arch.name
        found = weights_of_run(folder)
        where = f"did you mean {found}?" if found else f"training writes them to {folder / 'best_model'}"
        raise ConfigError(f"Global.pretrained_model: expected the weights to use, got nothing; {where}")
    engine.select_device(config.Global.device)
    native.set_mode(config.Global.native)
    network = build_model(arch, pretrained=False)
    load_pretrained(network, arch.name, source, key=key, ssld=arch.use_ssld, head="strict", part=part)
    return network
