"""Explain the predictions for photos with Grad-CAM, and compute the features of photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import paddle

from ppzoo import data, deploy, explain
from ppzoo.builders.class_names import add_classes_of_run, list_labels
from ppzoo.builders.component_factory import build_transforms
from ppzoo.builders.inference import TRANSFORMS, load_inference_network, require_equal_shapes
from ppzoo.builders.models import try_forward
from ppzoo.builders.rebuilding import rebuild_network, require_output_of_export
from ppzoo.builders.report_explain import sample_pixels
from ppzoo.builders.seen_part import find_seen_part, find_unlocated, unfused
from ppzoo.builders.tta_views import enabled_tta
from ppzoo.config import Config
from ppzoo.data.transforms import DecodeImage
from ppzoo.errors import ConfigError, DataError, suggestion
from ppzoo.files import read_plain_file
from ppzoo.progress import track

logger = logging.getLogger("ppzoo")

MAX_DIGITS = 9  # of the index of a class
GAP = 4  # white columns between the two halves of a picture
MAX_SIDE = 1024  # of a half, in pixels; larger photos are scaled down


@dataclass(frozen=True)
class Explanation:
    """The Grad-CAM overlay of a photo.

    Attributes:
        label: name of the explained class.
        score: its probability.
        picture: the photo, or the network's input before normalization, and to its right the same with the overlay;
            H x W x 3 uint8.
    """

    label: str
    score: float
    picture: np.ndarray


def explain_images(
    config: Config, files: Sequence[Path], class_name: str | None = None, export: deploy.ExportedModel | None = None
) -> Iterator[tuple[Path, Explanation | DataError]]:
    """Yield each image with its explanation, or with the error that occurred when it was read.

    Args:
        class_name: name or index of the class to explain; by default the predicted class of each image.
        export: the export that `config` was made from by `config_of_export`; None for a run.

    Raises:
        ConfigError: there is no such class, the network cannot take the images, or it cannot be rebuilt.
    """
    config = add_classes_of_run(config)
    labels = list_labels(config)
    class_id = None if class_name is None else find_class(class_name, labels)
    reader = InputReader(config, _Photos(files), export)
    network = deploy.Probabilities(reader.network, multi_label=config.Global.use_multilabel)
    network.eval()
    canvas = Canvas(reader.samples.transforms.transforms)
    for index, file in enumerate(track(files, len(files), "explaining", is_printed=True)):
        result = reader.read_or_error(index)
        if isinstance(result, DataError):
            yield file, result
            continue
        (scores,) = deploy.predict_probabilities(network, result.image[None], [str(file)].__getitem__)
        chosen = int(scores.argmax()) if class_id is None else class_id
        heatmap = explain.grad_cam(reader.network, result.image, chosen)
        picture = canvas.draw(reader.samples.dataset[index][0], result.pixels, heatmap)
        yield file, Explanation(labels[chosen], float(scores[chosen]), picture)


class Canvas:
    """Draws overlays over photos; over the network's input if the part of a photo that a transform keeps is unknown.

    Args:
        transforms: from the photo to the network's input.
    """

    def __init__(self, transforms: Sequence[data.Transform]) -> None:
        self.transforms = list(unfused(transforms))
        unlocated = find_unlocated(self.transforms)
        decode = next((one for one in self.transforms if isinstance(one, DecodeImage)), None)
        self.decode = None if unlocated or decode is None else DecodeImage(backend=decode.backend)
        if self.decode is None:
            reason = f"{unlocated} is in {TRANSFORMS}" if unlocated else f"{TRANSFORMS} has no DecodeImage"
            logger.info("the pictures show the network's input instead of the photos, since %s", reason)

    def draw(self, content: bytes | np.ndarray, pixels: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
        """Return an image, and to the right of it the same image with its overlay; see `draw_both`."""
        image, drawn = self.draw_both(content, pixels, heatmap)
        return np.concatenate([image, np.full((len(image), GAP, 3), 255, np.uint8), drawn], axis=1)

    def draw_both(
        self, content: bytes | np.ndarray, pixels: np.ndarray, heatmap: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return an image, and the same with its overlay.

        Args:
            content: the file of the photo.
            pixels: the network's input before normalization, H x W x 3 uint8.
        """
        if self.decode is None:
            return pixels, explain.overlay(pixels, heatmap)
        photo = self.decode(content, np.random.default_rng(0))
        height, width = photo.shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = photo if scale == 1 else cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        part = find_seen_part(self.transforms, width, height)
        across, down = size[0] / width, size[1] / height
        scaled = (part.left * across, part.top * down, part.width * across, part.height * down)
        return image, explain.overlay_part(image, heatmap, scaled)


def find_class(name: str, labels: Sequence[str]) -> int:
    """Return the index of the class that --class names; a name takes precedence over an index.

    Raises:
        ConfigError: there is no such class, or several have that name.
    """
    (plain,) = data.normalize_names([name])
    found = [index for index, label in enumerate(data.normalize_names(labels)) if label == plain]
    if len(found) > 1:
        raise ConfigError(
            f"--class: expected the name of one class, got {name!r}, the name of the classes {found}: use an index"
        )
    if found:
        return found[0]
    if plain.isascii() and plain.isdecimal():
        if len(plain) <= MAX_DIGITS and int(plain) < len(labels):
            return int(plain)
        raise ConfigError(
            f"--class: expected the name of a class or an index from 0 to {len(labels) - 1}, got {name:.60}"
        )
    raise ConfigError(f"--class: expected the name or index of a class, got {name!r}{suggestion(name, labels)}")


def embed_images(
    config: Config, files: Sequence[Path], export: deploy.ExportedModel | None = None
) -> Iterator[tuple[Path, np.ndarray | DataError]]:
    """Yield each image with its features (D values, float32), or with the error that occurred when it was read.

    Args:
        export: the export that `config` was made from by `config_of_export`; None for a run.

    Raises:
        ConfigError: the network cannot take the images, or cannot be rebuilt.
        TrainingError: the features are not finite.
    """
    config = add_classes_of_run(config)
    reader = InputReader(config, _Photos(files), export)
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
    """Return up to `count` files most similar to the image `query_file`, without that file, and cosine similarities.

    Args:
        features: of the files, N x D.
        query: features of `query_file`, D values.
    """
    own = os.path.realpath(query_file)
    kept = [index for index, file in enumerate(files) if os.path.realpath(file) != own]
    if not kept:
        return []
    order, similarities = explain.nearest(features[kept], query, count)
    return [(files[kept[position]], float(value)) for position, value in zip(order, similarities, strict=True)]


class _Input(NamedTuple):
    """An image before normalization, H x W x 3 uint8, and the network's input, C x H x W float32."""

    pixels: np.ndarray
    image: np.ndarray


class InputReader:
    """Reads photos through `Infer.transforms`, and checks that the network, which it loads, can take them.

    Args:
        export: the export from which the network is rebuilt; the outputs of both are compared for the first image. None
            for a run.
    """

    def __init__(self, config: Config, photos: data.Dataset, export: deploy.ExportedModel | None) -> None:
        self.config, self.export = config, export
        self.samples = data.Samples(photos, build_transforms(config.Infer.transforms or ()), seed=0)
        self.network = load_inference_network(config) if export is None else rebuild_network(config, export)
        self.network.eval()
        self.shapes: list[tuple[int, ...]] | None = None
        if enabled_tta(config):
            logger.info("TTA is not used: each image is processed once, as Infer.transforms return it")

    def read(self, index: int) -> _Input:
        """Return an image by its index.

        Raises:
            DataError: the file cannot be read or is not an image.
            ConfigError: the network cannot take it, it has another shape than the images before it, or the outputs of
                the rebuilt network are not those of the export.
        """
        sample = self.samples.read((0, index))
        image = sample.image if sample.normalized else self.samples.normalize(sample.image[None])[0]
        image = np.ascontiguousarray(image, np.float32)
        if self.shapes is None:
            describe, name = self.samples.dataset.describe, self.config.Arch.deployed.name
            try_forward(self.network, paddle.to_tensor(image[None]), name, TRANSFORMS, lambda _: describe(index))
            if self.export is not None:
                require_output_of_export(self.config, self.export, self.network, image[None])
        self.shapes = require_equal_shapes(self.shapes, [image])
        return _Input(sample_pixels(sample), image)

    def read_or_error(self, index: int) -> _Input | DataError:
        """Do the same as `read`, but return the error of an image that cannot be read."""
        try:
            return self.read(index)
        except DataError as error:
            return error


class _Photos:
    """Image files as a dataset; their labels are not used.

    The latest file is kept in memory, since it is used twice: for the network's input and for the picture.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.labels = np.zeros(len(files), np.int64)
        self.classes: list[str] | None = None
        self._latest: tuple[int, bytes] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[bytes, int]:
        if self._latest is None or self._latest[0] != index:
            try:
                self._latest = index, read_plain_file(self.files[index])
            except OSError as error:
                raise DataError(f"{self.files[index]}: cannot read the image: {error.strerror}") from error
        return self._latest[1], 0

    def describe(self, index: int) -> str:
        return str(self.files[index])
