"""The parts of a report that need the network itself: Grad-CAM overlays, and the two-dimensional map of features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from ppzoo import explain
from ppzoo.builders.report_features import MAP_IMAGES
from ppzoo.builders.report_images import KINDS, encode_jpeg
from ppzoo.builders.report_sources import EvaluatedNetwork, group_by_shape
from ppzoo.data.samples import Sample
from ppzoo.layers import Classifier
from ppzoo.progress import Progress, track
from ppzoo.report import Note, make_note

OVERLAY_SECONDS = 8.0  # for all overlays
MAP_SECONDS = 6.0  # to compute the features of an export
OVERLAY_BATCH = 8
MIN_MAP_IMAGES, MAP_BATCH = 3, 16


def draw_overlays(evaluated: EvaluatedNetwork, gallery: dict[str, list[dict[str, Any]]], notes: list[Note]) -> None:
    """Set "overlay" of the images of a gallery to the Grad-CAM overlay of the predicted class.

    With several labels per image, the overlay is that of the most probable label. The first images of each kind come
    first; after `OVERLAY_SECONDS` no more are computed.
    """
    members = {kind: choose(evaluated.predictions, len(gallery[kind])).tolist() for kind, choose in KINDS.items()}
    ranked = chain.from_iterable(zip_longest(*members.values()))
    positions = [position for position in dict.fromkeys(ranked) if position is not None]
    overlays = _compute_overlays(evaluated, positions)
    readable = len(positions) - len(evaluated.lost.intersection(positions))
    if evaluated.network is not None and len(overlays) < readable:
        values = {"done": len(overlays), "n": readable, "seconds": f"{OVERLAY_SECONDS:g}"}
        notes.append(make_note("overlays_part", **values))
    for kind, images in gallery.items():
        for image, position in zip(images, members[kind], strict=True):
            image["overlay"] = overlays.get(position)


def _compute_overlays(evaluated: EvaluatedNetwork, positions: Sequence[int]) -> dict[int, str]:
    """Return the overlays of images by position, as data URLs; {} without a network."""
    if evaluated.network is None:
        return {}
    overlays: dict[int, str] = {}
    end = time.monotonic() + OVERLAY_SECONDS
    with Progress(len(positions), "Grad-CAM overlays") as progress:
        for start in range(0, len(positions), OVERLAY_BATCH):
            if time.monotonic() > end:
                break
            part = positions[start : start + OVERLAY_BATCH]
            overlays |= _overlay_batch(evaluated, evaluated.network, part)
            progress.advance(len(part))
    return overlays


def _overlay_batch(evaluated: EvaluatedNetwork, network: Classifier, positions: Sequence[int]) -> dict[int, str]:
    """Return the overlays of a few images; those of the same shape go through the network together."""
    predictions = evaluated.predictions
    overlays = {}
    for group in group_by_shape(evaluated.read_inputs(positions)):
        classes = None if predictions.multi_label else [int(predictions.predicted[one.position]) for one in group]
        heatmaps = explain.grad_cams(network, np.stack([one.image for one in group]), classes)
        for one, heatmap in zip(group, heatmaps, strict=True):
            overlays[one.position] = encode_jpeg(explain.overlay(sample_pixels(one.sample), heatmap))
    return overlays


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
    evaluated: EvaluatedNetwork, notes: list[Note], method: explain.Projection = "pca"
) -> dict[str, Any] | None:
    """Return the section `map` for random images; None for several labels, without a network, or with too few images.

    The evaluation of a run records the features. The program of an export does not return features, so its rebuilt
    network computes them for as many images as `MAP_SECONDS` allow.
    """
    network, predictions = evaluated.network, evaluated.predictions
    if network is None or predictions.multi_label:
        return None
    if len(predictions) < MIN_MAP_IMAGES:
        notes.append(make_note("map_too_few", least=MIN_MAP_IMAGES))
        return None
    if evaluated.features is not None:
        positions = np.searchsorted(predictions.indices, list(evaluated.features)).tolist()
        vectors = list(evaluated.features.values())
    else:
        positions, vectors = _compute_features(evaluated, network)
    if len(positions) < len(predictions):
        notes.append(make_note("map_part", shown=len(positions), images=len(predictions)))
    if len(positions) < MIN_MAP_IMAGES:
        return None
    points = explain.project(_scale_to_unit_length(np.stack(vectors)), method)
    columns = (points[:, 0], points[:, 1], predictions.labels[positions], predictions.predicted[positions])
    return {"method": method, "points": [list(point) for point in zip(*columns, strict=True)]}


def _scale_to_unit_length(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors, N x D, to length 1. Unscaled, the longest vectors, often of one class, would fill the map."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _compute_features(evaluated: EvaluatedNetwork, network: Classifier) -> tuple[list[int], list[np.ndarray]]:
    """Return the positions and the features of random images, as many as `MAP_SECONDS` allow."""
    order = np.random.default_rng(0).permutation(len(evaluated.predictions))[:MAP_IMAGES]
    positions: list[int] = []
    features: list[np.ndarray] = []
    end = time.monotonic() + MAP_SECONDS
    for start in track(range(0, len(order), MAP_BATCH), -(-len(order) // MAP_BATCH), "map of features", unit="batch"):
        if time.monotonic() > end and len(positions) >= MIN_MAP_IMAGES:
            break
        for group in group_by_shape(evaluated.read_inputs(order[start : start + MAP_BATCH].tolist())):
            positions += [one.position for one in group]
            features += list(explain.embed(network, np.stack([one.image for one in group])))
    return positions, features
