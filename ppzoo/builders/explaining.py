"""Explain the predictions for photos with Grad-CAM, and compute the features of photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle

from ppzoo import data, deploy, explain
from ppzoo.builders.class_names import add_classes_of_run, list_labels
from ppzoo.builders.components import build_transforms
from ppzoo.builders.inference import TRANSFORMS, load_inference_network, require_equal_shapes
from ppzoo.builders.models import try_forward
from ppzoo.builders.report_explain import sample_pixels
from ppzoo.builders.tta_views import enabled_tta
from ppzoo.config import Config
from ppzoo.errors import ConfigError, DataError, suggestion
from ppzoo.files import read_plain_file
from ppzoo.layers import Classifier
from ppzoo.progress import track

logger = logging.getLogger("ppzoo")

GAP = 4  # white columns between the two halves of a picture


@dataclass(frozen=True)
class Explanation:
    """The Grad-CAM overlay of a photo.

    Attributes:
        label: name of the explained class.
        score: its probability.
        picture: the network's input before normalization, and the same with the overlay next to it; H x W x 3 uint8.
    """

    label: str
    score: float
    picture: np.ndarray


def explain_images(
    config: Config, files: Sequence[Path], class_name: str | None = None
) -> Iterator[tuple[Path, Explanation | DataError]]:
    """Yield each image with its explanation, or with the error that occurred when it was read.

    Args:
        class_name: name or index of the class to explain; by default the predicted class of each image.

    Raises:
        ConfigError: there is no such class, or the network cannot take the images.
    """
    config = add_classes_of_run(config)
    labels = list_labels(config)
    class_id = None if class_name is None else find_class(class_name, labels)
    reader = _InputReader(config, files)
    network = deploy.Probabilities(reader.network, multi_label=config.Global.use_multilabel)
    network.eval()
    for index, file in enumerate(track(files, len(files), "explaining", is_printed=True)):
        result = reader.read_or_error(index)
        if isinstance(result, DataError):
            yield file, result
            continue
        pixels, image = result
        (scores,) = deploy.predict_probabilities(network, image[None], [str(file)].__getitem__)
        chosen = int(scores.argmax()) if class_id is None else class_id
        overlay = explain.overlay(pixels, explain.grad_cam(reader.network, image, chosen))
        gap = np.full((len(pixels), GAP, 3), 255, np.uint8)
        yield file, Explanation(labels[chosen], float(scores[chosen]), np.concatenate([pixels, gap, overlay], axis=1))


def find_class(name: str, labels: Sequence[str]) -> int:
    """Return the index of the class that --class names; a name comes before an index.

    Raises:
        ConfigError: there is no such class, or several have that name.
    """
    (plain,) = data.normalize_names([name])
    found = [index for index, label in enumerate(data.normalize_names(labels)) if label == plain]
    if len(found) > 1:
        raise ConfigError(f"--class: expected the name of one class, got {name!r} of the classes {found}: use an index")
    if found:
        return found[0]
    if plain.isascii() and plain.isdecimal():
        if int(plain) < len(labels):
            return int(plain)
        raise ConfigError(f"--class: expected the name of a class or an index from 0 to {len(labels) - 1}, got {name}")
    raise ConfigError(f"--class: expected the name or index of a class, got {name!r}{suggestion(name, labels)}")


def embed_images(config: Config, files: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray | DataError]]:
    """Yield each image with its features (D values, float32), or with the error that occurred when it was read.

    Raises:
        ConfigError: the network cannot take the images.
        TrainingError: the features are not finite.
    """
    config = add_classes_of_run(config)
    reader = _InputReader(config, files)
    size = config.Infer.batch_size
    batches = [range(len(files))[start : start + size] for start in range(0, len(files), size)]
    for batch in track(batches, len(files), "computing features", count=len):
        read = [reader.read_or_error(index) for index in batch]
        images = [result.image for result in read if isinstance(result, _Input)]
        features = iter(explain.embed(reader.network, np.stack(images)) if images else ())
        for index, result in zip(batch, read, strict=True):
            yield files[index], next(features) if isinstance(result, _Input) else result


def rank_similar(
    files: Sequence[Path], features: np.ndarray, query_file: Path, query: np.ndarray, count: int
) -> list[tuple[Path, float]]:
    """Return the `count` files most similar to the image `query_file`, without itself, and their cosine similarities.

    Args:
        features: of the files, N x D.
        query: features of `query_file`, D values.
    """
    own = os.path.realpath(query_file)
    kept = [index for index, file in enumerate(files) if os.path.realpath(file) != own]
    if not kept:
        return []
    order, similarities = explain.nearest(features[kept], query, count)
    return [(files[kept[place]], float(value)) for place, value in zip(order, similarities, strict=True)]


class _Input(NamedTuple):
    """An image before normalization, H x W x 3 uint8, and the network's input, C x H x W float32."""

    pixels: np.ndarray
    image: np.ndarray


class _InputReader:
    """Reads photos through `Infer.transforms`, and checks that the network, which it loads, can take them."""

    def __init__(self, config: Config, files: Sequence[Path]) -> None:
        self.name = config.Arch.deployed.name
        self.samples = data.Samples(_Photos(files), build_transforms(config.Infer.transforms or ()), seed=0)
        self.network: Classifier = load_inference_network(config)
        self.network.eval()
        self.shapes: list[tuple[int, ...]] | None = None
        if enabled_tta(config):
            logger.info("TTA is not used: each image is processed once, as Infer.transforms return it")

    def read(self, index: int) -> _Input:
        """Return an image by its index.

        Raises:
            DataError: the file cannot be read or is not an image.
            ConfigError: the network cannot take it, or it has another shape than the images before it.
        """
        sample = self.samples.read((0, index))
        image = sample.image if sample.normalized else self.samples.normalize(sample.image[None])[0]
        image = np.ascontiguousarray(image, np.float32)
        if self.shapes is None:
            describe = self.samples.dataset.describe
            try_forward(self.network, paddle.to_tensor(image[None]), self.name, TRANSFORMS, lambda _: describe(index))
        self.shapes = require_equal_shapes(self.shapes, [image])
        return _Input(sample_pixels(sample), image)

    def read_or_error(self, index: int) -> _Input | DataError:
        """Do the same as `read`, but return the error of an image that cannot be read."""
        try:
            return self.read(index)
        except DataError as error:
            return error


class _Photos:
    """Image files as a dataset; their labels are not used."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.labels = np.zeros(len(files), np.int64)
        self.classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        try:
            return read_plain_file(self.files[index]), 0
        except OSError as error:
            raise DataError(f"{self.files[index]}: cannot read the image: {error.strerror}") from error

    def describe(self, index: int) -> str:
        return str(self.files[index])
