"""The parts of a report that need the network itself: Grad-CAM overlays, and the two-dimensional map of features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any, Literal

import numpy as np

from ppzoo import data, explain
from ppzoo.builders.report_images import KINDS, encode_jpeg
from ppzoo.builders.report_sources import EvaluatedNetwork
from ppzoo.data.samples import Sample
from ppzoo.errors import count_text
from ppzoo.progress import track

OVERLAY_SECONDS = 8.0  # for all overlays
MAP_SECONDS = 6.0  # to compute the features
MAP_IMAGES, MIN_MAP_IMAGES, MAP_BATCH = 2000, 3, 32


def draw_overlays(evaluated: EvaluatedNetwork, gallery: dict[str, list[dict[str, Any]]], notes: list[str]) -> None:
    """Set "overlay" of the images of a gallery to the Grad-CAM overlay of the predicted class.

    With several labels per image it is that of the most probable label. The first images of each kind come first; after
    `OVERLAY_SECONDS` no more are computed.
    """
    members = {kind: choose(evaluated.predictions, len(gallery[kind])).tolist() for kind, choose in KINDS.items()}
    ranked = chain.from_iterable(zip_longest(*members.values()))
    positions = [position for position in dict.fromkeys(ranked) if position is not None]
    overlays = _compute_overlays(evaluated, positions)
    if evaluated.network is not None and len(overlays) < len(positions):
        notes.append(
            f"Grad-CAM overlays were computed for {len(overlays)} of {count_text(len(positions), 'image')}, in"
            f" {OVERLAY_SECONDS:g} seconds."
        )
    for kind, images in gallery.items():
        for image, position in zip(images, members[kind], strict=True):
            image["overlay"] = overlays.get(position)


def _compute_overlays(evaluated: EvaluatedNetwork, positions: Sequence[int]) -> dict[int, str]:
    """Return the overlays of images by position, as data URLs; of an export none."""
    network, predictions = evaluated.network, evaluated.predictions
    if network is None:
        return {}
    overlays: dict[int, str] = {}
    end = time.monotonic() + OVERLAY_SECONDS
    for position in track(positions, len(positions), "Grad-CAM overlays"):
        if time.monotonic() > end:
            break
        class_id = None if predictions.multi_label else int(predictions.predicted[position])
        heatmap = explain.grad_cam(network, evaluated.read_input(position), class_id)
        pixels = input_pixels(evaluated.samples, int(predictions.indices[position]))
        overlays[position] = encode_jpeg(explain.overlay(pixels, heatmap))
    return overlays


def input_pixels(samples: data.Samples, index: int) -> np.ndarray:
    """Return the network's input for an image as H x W x 3 uint8; see `sample_pixels`."""
    return sample_pixels(samples.read((0, index)))


def sample_pixels(sample: Sample) -> np.ndarray:
    """Return a sample of `Samples.read` as H x W x 3 uint8.

    If pixels cannot be recovered from it, because normalization is not the last transform, its values are scaled to the
    range from 0 to 255.
    """
    pixels = sample.image
    if sample.normalized:
        values = pixels.transpose(1, 2, 0).astype(np.float32)
        low, high = float(values.min()), float(values.max())
        pixels = ((values - low) * (255 / max(high - low, 1e-6))).round().astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[:, :, :3])


def build_map(
    evaluated: EvaluatedNetwork, notes: list[str], method: Literal["pca", "tsne"] = "pca"
) -> dict[str, Any] | None:
    """Return the section `map`, for images that are evenly spread over the data; None where there is none."""
    network, predictions = evaluated.network, evaluated.predictions
    if network is None or predictions.multi_label:
        return None
    if len(predictions) < MIN_MAP_IMAGES:
        notes.append(f"A map of the features needs {MIN_MAP_IMAGES} images or more.")
        return None
    order = np.random.default_rng(0).permutation(len(predictions))[:MAP_IMAGES]
    features: list[np.ndarray] = []
    end = time.monotonic() + MAP_SECONDS
    for start in track(range(0, len(order), MAP_BATCH), -(-len(order) // MAP_BATCH), "map of features", unit="batch"):
        if time.monotonic() > end and start >= MIN_MAP_IMAGES:
            break
        images = np.stack([evaluated.read_input(position) for position in order[start : start + MAP_BATCH]])
        features.append(explain.embed(network, images))
    vectors = np.concatenate(features)
    if len(vectors) < len(predictions):
        notes.append(f"The map shows {len(vectors)} of {len(predictions)} images.")
    places = explain.project(vectors, method)
    positions = order[: len(vectors)]
    columns = (places[:, 0], places[:, 1], predictions.labels[positions], predictions.predicted[positions])
    return {"method": method, "points": [list(point) for point in zip(*columns, strict=True)]}
