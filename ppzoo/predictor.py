"""The door of those who serve: an exported folder answers about images, and needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppzoo import build
from ppzoo.deploy import Program, Topk
from ppzoo.errors import ConfigError, DataError

Image = str | os.PathLike | bytes | np.ndarray


class Predictor:
    """Answers about images with an exported network.

    Args:
        export_dir: a folder that `tools/export_model.py` wrote.
        batch_size: images computed at once, at least 1.

    Raises:
        ConfigError: `batch_size` out of its range.
        PpzooError: the folder is not an export, or damaged.
    """

    def __init__(self, export_dir: str | os.PathLike, *, batch_size: int = 16) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size: expected at least 1, received {batch_size}")
        self.program = Program(Path(export_dir))
        settings = self.program.settings
        self.preprocess = build.transforms(settings["PreProcess"]["transform_ops"])
        self.labels = dict(enumerate(settings["PostProcess"]["Topk"]["label_list"]))
        self.batch_size = batch_size

    def predict(self, images: Image | Sequence[Image], topk: int = 5) -> list[dict[str, Any]]:
        """The `topk` classes of each image: `class_ids`, `scores` (probabilities) and `label_names`, the best first.

        Args:
            images: paths, encoded bytes, or H x W x 3 uint8 RGB arrays; a single one is a list of one.

        Raises:
            ConfigError: `topk` out of its range.
            DataError: an image that cannot be read, or whose shape after preprocessing does not fit.
        """
        several: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        answer = Topk(topk=topk, labels=self.labels)
        results: list[dict[str, Any]] = []
        for start in range(0, len(several), self.batch_size):
            batch = [self._prepare(image) for image in several[start : start + self.batch_size]]
            shapes = sorted({image.shape for image in batch})
            if len(shapes) > 1:
                raise DataError(
                    f"expected images of one shape after preprocessing, received {shapes[0]} and {shapes[1]}: export"
                    " with ResizeImage with size, or CropImage, in Infer.transforms"
                )
            results += answer(self.program(np.stack(batch)))
        return results

    def _prepare(self, image: Image) -> np.ndarray:
        if isinstance(image, (str, os.PathLike)):
            return build.read_image(Path(image), self.preprocess)
        if isinstance(image, (bytes, np.ndarray)):
            return self.preprocess(image)
        raise DataError(f"image: expected a path, bytes or an H x W x 3 uint8 array, received {type(image).__name__}")
