"""The images of a report: thumbnails of those that a person should see first."""

from __future__ import annotations

import base64
import io
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image

from ppzoo import data
from ppzoo.analysis import Predictions, confidently_wrong, highest_loss, least_confident
from ppzoo.builders.report_sources import EvaluatedNetwork
from ppzoo.data.transforms.decode import DIVISORS, DecodeImage, check_header
from ppzoo.errors import DataError
from ppzoo.progress import track

MAX_IMAGES = 24  # of each kind
THUMBNAIL_SIDE, JPEG_QUALITY = 160, 80
KINDS = {
    "highest_loss": highest_loss,
    "least_confident": least_confident,
    "confidently_wrong": confidently_wrong,
}


def build_gallery(evaluated: EvaluatedNetwork) -> dict[str, list[dict[str, Any]]]:
    """Return the section `gallery`."""
    predictions = evaluated.predictions
    chosen = {kind: choose(predictions, MAX_IMAGES).tolist() for kind, choose in KINDS.items()}
    positions = list(dict.fromkeys(chain.from_iterable(chosen.values())))
    shown = track(positions, len(positions), "images of the report")
    thumbnails = {position: _thumbnail(evaluated.samples, position, predictions) for position in shown}
    return {
        kind: [
            {
                **describe_prediction(evaluated, position),
                "thumbnail": thumbnails[position],
                "overlay": None,
            }
            for position in members
        ]
        for kind, members in chosen.items()
    }


def describe_prediction(evaluated: EvaluatedNetwork, position: int) -> dict[str, Any]:
    """Return file, label, prediction, confidences and loss of an image, and whether the prediction is right.

    Labels are indices; with several labels per image, they are lists of indices, and all known labels have to be right.
    """
    predictions = evaluated.predictions
    label, predicted = predictions.labels[position], predictions.predicted[position]
    several = predictions.multi_label
    return {
        "file": evaluated.samples.dataset.describe(int(predictions.indices[position])),
        "label": np.flatnonzero(label == 1).tolist() if several else int(label),
        "predicted": np.flatnonzero(predicted == 1).tolist() if several else int(predicted),
        "confidence": float(predictions.confidence[position]),
        "label_confidence": float(predictions.label_confidence[position]),
        "loss": float(predictions.loss[position]),
        "correct": bool(predictions.right[position]),
    }


def _thumbnail(samples: data.Samples, position: int, predictions: Predictions) -> str | None:
    """Return the image of a sample as a small JPEG in a data URL; None if it cannot be decoded any more."""
    try:
        source, _ = samples.dataset[int(predictions.indices[position])]
        pixels = decode_small(source, THUMBNAIL_SIDE)
    except DataError:
        return None
    return encode_jpeg(pixels)


def decode_small(source: bytes | np.ndarray, side: int) -> np.ndarray:
    """Return the pixels of an image; those of a large JPEG are decoded at a smaller size.

    Args:
        side: number of pixels that the longer side needs. A JPEG is decoded at the smallest of 1/8, 1/4 and 1/2 of
            its size at which the longer side has at least so many, or else at its full size.

    Raises:
        DataError: as `DecodeImage` does.
    """
    decode = DecodeImage()
    header = check_header(source) if isinstance(source, bytes) else None
    if header is None or isinstance(source, np.ndarray):
        return decode(source, np.random.default_rng(0))
    longer = max(header.width, header.height)
    return decode.decode_reduced(source, next((part for part in DIVISORS if longer // part >= side), 1))


def encode_jpeg(pixels: np.ndarray) -> str:
    """Return H x W x C uint8 pixels (gray or RGB) as a JPEG in a data URL, with sides of at most `THUMBNAIL_SIDE`."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3])
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
