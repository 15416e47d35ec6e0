"""Compare each format of an export with the network on the same images, before the export is moved into place."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.engines import ENGINE_TOLERANCE, Engine, open_file_engine
from ppzoo.deploy.export_dir import PADDLE, ExportedModel
from ppzoo.deploy.formats import USUAL_ENGINES
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.deploy.probabilities import Probabilities, predict_outputs
from ppzoo.deploy.rounding import is_rounding
from ppzoo.errors import TrainingError
from ppzoo.finite import require_finite
from ppzoo.layers import Reparameterized

logger = logging.getLogger("ppzoo")

EXPORT_TOLERANCE = 1e-5  # max. absolute difference of probabilities between a program of Paddle and its network
TOLERANCES = {PADDLE: EXPORT_TOLERANCE}  # of the other formats: ENGINE_TOLERANCE
FEATURES_TOLERANCE = 1e-4  # relative to the largest feature, or to 1 if that is larger
BATCH_SIZES = (2, 1, 7)  # the compared batches have these sizes in turn
RANDOM_IMAGES = 10
MORE_IMAGES = 8  # number of images on which float64 is computed if a difference exceeds the tolerance


@dataclass(frozen=True)
class CheckImages:
    """The images that network and export are compared on.

    Attributes:
        images: N x C x H x W float32, preprocessed.
        pixels: the same images as N x H x W x C uint8, before the normalization; None if the export does not normalize.
        source: where they are from: "random numbers", or the data.
    """

    images: np.ndarray
    pixels: np.ndarray | None
    source: str

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield images and pixels in batches of different sizes."""
        start = number = 0
        while start < len(self.images):
            part = slice(start, start + BATCH_SIZES[number % len(BATCH_SIZES)])
            yield self.images[part], None if self.pixels is None else self.pixels[part]
            start, number = part.stop, number + 1

    def describe(self, index: int) -> str:
        """Return the name of an image in error messages."""
        return "a random image" if self.source == "random numbers" else f"an image of {self.source}"


@dataclass(frozen=True)
class FormatCheck:
    """The comparison of a format with the network.

    Attributes:
        kind: the format.
        difference: max. absolute difference of the probabilities.
        agreement: fraction of the images with the same most probable class.
        features: max. absolute difference of the features; None if there are none.
    """

    kind: str
    difference: float
    agreement: float
    features: float | None = None

    def describe(self) -> dict[str, float]:
        """Return the entries of this format for `inference.yml`."""
        named = {"max_difference": self.difference, "top1_agreement": self.agreement}
        return named if self.features is None else {**named, "max_difference_of_features": self.features}


def random_images(image_shape: Sequence[int], normalization: Normalization | None) -> CheckImages:
    """Return images of random numbers, for networks without data."""
    random = np.random.default_rng(0)
    if normalization is None:
        images = random.standard_normal((RANDOM_IMAGES, *image_shape), dtype=np.float32)
        return CheckImages(images, None, "random numbers")
    channels, height, width = image_shape
    pixels = random.integers(0, 256, (RANDOM_IMAGES, height, width, channels), dtype=np.uint8)
    return CheckImages(normalization(pixels), pixels, "random numbers")


@dataclass(frozen=True)
class Reference:
    """A network, images, and the network's outputs for each batch of them, which an export is compared with."""

    model: Probabilities
    images: CheckImages
    outputs: Sequence[list[np.ndarray]]


def make_reference(model: Probabilities, images: CheckImages) -> Reference:
    """Compute the outputs of a network; the reference stays the same if the network's blocks are fused afterwards.

    Raises:
        TrainingError: a score is not finite.
    """
    outputs = [predict_outputs(model, batch, images.describe) for batch, _ in images.batches()]
    is_fused_later = any(isinstance(layer, Reparameterized) for layer in model.sublayers())
    return Reference(copy.deepcopy(model) if is_fused_later else model, images, outputs)


def check_format(kind: str, exported: ExportedModel, reference: Reference) -> FormatCheck:
    """Compare a format with the network.

    Raises:
        TrainingError: rounding does not explain the difference, or an output is not finite.
    """
    engine, images = open_format(kind, exported), reference.images
    largest, agreements = 0.0, []
    features: list[float] = []  # max. difference of each batch
    relative: list[float] = []  # the same, as `FEATURES_TOLERANCE` counts
    for (batch, pixels), expected in zip(images.batches(), reference.outputs, strict=True):
        received = run_engine(engine, batch, pixels)
        require_finite(received[0], images.describe)
        largest = max(largest, float(np.abs(received[0] - expected[0]).max()))
        agreements += (received[0].argmax(1) == expected[0].argmax(1)).tolist()
        if len(expected) > 1:
            features.append(float(np.abs(received[1] - expected[1]).max()))
            relative.append(features[-1] / max(1.0, float(np.abs(expected[1]).max())))
    tolerance = TOLERANCES.get(kind, ENGINE_TOLERANCE)
    if not largest <= tolerance:
        _require_rounding(kind, engine, reference, largest, tolerance)
    if relative and not max(relative) <= FEATURES_TOLERANCE:
        _require_rounding_of_features(kind, engine, reference, max(relative))
    return FormatCheck(kind, largest, float(np.mean(agreements)), max(features) if features else None)


def open_format(kind: str, exported: ExportedModel, precision: str = "float32") -> Engine:
    """Open one format of an export in the engine that is usual for it."""
    if kind == PADDLE:
        return PaddleEngine(exported)
    return open_file_engine(USUAL_ENGINES[kind], exported, max(BATCH_SIZES), precision, kind=kind)


def run_engine(engine: Engine, images: np.ndarray, pixels: np.ndarray | None) -> list[np.ndarray]:
    """Return all outputs of an engine for images; an engine that normalizes them itself gets `pixels` instead."""
    given: Any = pixels if engine.takes_pixels else images
    batch = engine.batch(given.shape)
    for index, image in enumerate(given):
        batch.set_image(index, image)
    return batch.outputs()


def _require_rounding(kind: str, engine: Engine, reference: Reference, largest: float, tolerance: float) -> None:
    """Check against float64 that only rounding causes a difference of the probabilities above the tolerance."""
    model, images = reference.model, reference.images
    plain = Probabilities(model.network, multi_label=model.multi_label)
    plain.eval()
    few, inputs = images.images[:MORE_IMAGES], _inputs(engine, images)[:MORE_IMAGES]
    if not is_rounding(plain, lambda batch: run_engine(engine, batch, batch)[:1], few, tolerance, inputs=inputs):
        raise TrainingError(
            f"the exported {_name(kind)} differs from the network by {largest:.2g} (tolerance {tolerance:g}): nothing"
            " was exported; please report the architecture and the version of PaddlePaddle"
        )
    _warn_of_rounding(kind, largest, "")


def _require_rounding_of_features(kind: str, engine: Engine, reference: Reference, largest: float) -> None:
    """Check against float64 that only rounding causes a difference of the features above the tolerance."""
    model, images = reference.model, reference.images
    few, inputs = images.images[:MORE_IMAGES], _inputs(engine, images)[:MORE_IMAGES]

    def run(batch: np.ndarray) -> list[np.ndarray]:
        return run_engine(engine, batch, batch)

    if not is_rounding(model, run, few, FEATURES_TOLERANCE, relative=True, inputs=inputs):
        raise TrainingError(
            f"the features of the exported {_name(kind)} differ from the network's by {largest:.2g} of the largest one:"
            " nothing was exported; please report the architecture and the version of PaddlePaddle"
        )
    _warn_of_rounding(kind, largest, " of the largest feature")


def _inputs(engine: Engine, images: CheckImages) -> np.ndarray:
    """Return what an engine gets for the images."""
    return images.pixels if engine.takes_pixels and images.pixels is not None else images.images


def _warn_of_rounding(kind: str, largest: float, unit: str) -> None:
    logger.warning(
        "the network is badly conditioned: float32 rounding changes its outputs, and the exported %s differs from it"
        " by %.2g%s; training longer usually fixes this",
        _name(kind),
        largest,
        unit,
    )


def _name(kind: str) -> str:
    return "program" if kind == PADDLE else f"{kind} model"
