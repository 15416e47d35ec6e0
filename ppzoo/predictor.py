"""The door of those who serve: an exported folder answers about images, and needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ppzoo import build
from ppzoo.deploy import fastest_engine, of_settings, open_engine, open_export
from ppzoo.errors import ConfigError, DataError
from ppzoo.machine import usable_cores

Image = str | os.PathLike | bytes | np.ndarray


class Predictor:
    """Answers about images with an exported network.

    Args:
        export_dir: a folder that `tools/export_model.py` wrote.
        batch_size: images computed at once, at least 1.
        engine: what computes: "paddle", "onnxruntime" or "openvino" (on a CPU; `pip install 'ppzoo[openvino]'`), or
            "auto", the fastest of those that are installed for batches of `batch_size`, which is measured once for
            each machine and export. All answer what the network answers, to 1e-4.

    Attributes:
        engine: the one that computes; `engine.name` tells which "auto" chose.

    Raises:
        ConfigError: `batch_size` out of its range, or an engine that is not there or cannot run the export.
        PpzooError: the folder is not an export, or damaged; or the engine answers other than the network.
    """

    def __init__(
        self,
        export_dir: str | os.PathLike,
        *,
        batch_size: int = 16,
        engine: Literal["auto", "paddle", "onnxruntime", "openvino"] = "auto",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size: expected at least 1, received {batch_size}")
        exported = open_export(Path(export_dir))
        self.engine = fastest_engine(exported, batch_size) if engine == "auto" else open_engine(engine, exported)
        self.preprocess = build.transforms(exported.settings["PreProcess"]["transform_ops"])
        self.postprocess = of_settings(exported.settings["PostProcess"])
        self.batch_size = batch_size
        self._answers: dict[int, Callable[[np.ndarray], list[dict[str, Any]]]] = {}
        self._readers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="ppzoo-reader")

    def predict(self, images: Image | Sequence[Image], topk: int = 5) -> list[dict[str, Any]]:
        """The `topk` classes of each image: `class_ids`, `scores` (probabilities) and `label_names`, the best first.

        An export of a network for several labels an image answers those that reach its threshold instead.

        Args:
            images: paths, encoded bytes, or H x W x 3 uint8 RGB arrays; a single one is a list of one.

        Raises:
            ConfigError: `topk` out of its range.
            DataError: an image that cannot be read, or whose shape after preprocessing does not fit.
        """
        several: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        answer = self._answer(topk)
        results: list[dict[str, Any]] = []
        for start in range(0, len(several), self.batch_size):
            results += answer(self.engine(self._batch(several[start : start + self.batch_size])))
        return results

    def _answer(self, topk: int) -> Callable[[np.ndarray], list[dict[str, Any]]]:
        if topk not in self._answers:
            name, options = self.postprocess
            section = {**options, "name": name, **({"topk": topk} if name == "Topk" else {})}
            self._answers[topk] = build.postprocess(section, dict(enumerate(options["label_list"])))
        return self._answers[topk]

    def _batch(self, images: Sequence[Image]) -> np.ndarray:
        """The preprocessed images as N x C x H x W float32, made by all cores."""
        first = self._prepare(images[0])
        if len(images) == 1:
            return first[np.newaxis]
        batch = np.empty((len(images), *first.shape), np.float32)
        batch[0] = first

        def fill(index: int) -> None:
            image = self._prepare(images[index])
            if image.shape != first.shape:
                raise DataError(
                    f"expected images of one shape after preprocessing, received {first.shape} and {image.shape}:"
                    " export with ResizeImage with size, or CropImage, in Infer.transforms"
                )
            batch[index] = image

        for _ in self._readers.map(fill, range(1, len(images))):
            pass
        return batch

    def _prepare(self, image: Image) -> np.ndarray:
        if isinstance(image, (str, os.PathLike)):
            return build.read_image(Path(image), self.preprocess)
        if isinstance(image, (bytes, np.ndarray)):
            return self.preprocess(image)
        raise DataError(f"image: expected a path, bytes or an H x W x 3 uint8 array, received {type(image).__name__}")
