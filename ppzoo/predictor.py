"""The door of those who serve: an exported folder answers about images, and needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from ppzoo import build
from ppzoo.deploy import Batch, Normalization, fastest_engine, of_settings, open_engine, open_export
from ppzoo.errors import ConfigError, DataError
from ppzoo.files import local_path
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
        exported = open_export(local_path(export_dir, "export_dir"))
        ops = exported.settings["PreProcess"]["transform_ops"]
        self.preprocess = build.transforms(ops)
        decodes = any("DecodeImage" in op for op in ops)  # PaddleClas's own exports leave it to their caller
        self._decode = None if decodes else build.transforms([{"DecodeImage": {}}])
        last = self.preprocess.last if self.preprocess.leaves_pixels else None
        settings = exported, batch_size, Normalization(*last.linear()) if last else None
        self.engine = fastest_engine(*settings) if engine == "auto" else open_engine(engine, *settings)
        self.postprocess = of_settings(exported.settings["PostProcess"])
        self.batch_size = batch_size
        self._random = np.random.default_rng()
        self._answers: dict[int, Callable[[np.ndarray], list[dict[str, Any]]]] = {}
        self._cores = usable_cores()
        self._helpers = ThreadPoolExecutor(self._cores, thread_name_prefix="ppzoo-reader")
        self._engine_is_free = Lock()

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
            results += answer(self._probabilities(several[start : start + self.batch_size]))
        return results

    def _answer(self, topk: int) -> Callable[[np.ndarray], list[dict[str, Any]]]:
        if topk not in self._answers:
            name, options = self.postprocess
            section = {**options, "name": name, **({"topk": topk} if name == "Topk" else {})}
            self._answers[topk] = build.postprocess(section, dict(enumerate(options["label_list"])))
        return self._answers[topk]

    def _probabilities(self, images: Sequence[Image]) -> np.ndarray:
        """N x class_num of some images."""
        first = self._prepare(images[0])
        with self._engine_is_free:
            batch = self.engine.batch((len(images), *first.shape))
            batch.put(0, first)
            if len(images) > 1:
                self._fill(batch, images)
            return batch.probabilities()

    def _fill(self, batch: Batch, images: Sequence[Image]) -> None:
        """Prepare all images but the first on all cores, of which this thread is one."""
        cores = min(self._cores, len(images) - 1)

        def fill(start: int) -> None:
            for index in range(start, len(images), cores):
                prepared = self._prepare(images[index])
                expected = batch.images.shape[1:]
                if prepared.shape != expected:
                    first, other = self._planes(expected), self._planes(prepared.shape)
                    raise DataError(
                        f"expected images of one shape after preprocessing, received {first} and {other}:"
                        " export with ResizeImage with size, or CropImage, in Infer.transforms"
                    )
                batch.put(index, prepared)

        helping = [self._helpers.submit(fill, start) for start in range(2, cores + 1)]
        try:
            fill(1)
        finally:
            wait(helping)
        for helper in helping:
            helper.result()

    def _prepare(self, image: Image) -> np.ndarray:
        """An image as the engine takes it."""
        received = type(image).__name__
        if isinstance(image, np.ndarray):
            if image.ndim == 3 and image.size and image.dtype == np.uint8:
                return self._transform(image)
            received = f"an array of shape {image.shape} and type {image.dtype}"
        elif isinstance(image, bytes):
            return self._transform(image)
        elif isinstance(image, (str, os.PathLike)):
            return build.read_image(Path(image), self._transform)
        raise DataError(f"image: expected a path, bytes or an H x W x 3 uint8 array, received {received}")

    def _transform(self, image: bytes | np.ndarray) -> np.ndarray:
        if self._decode and isinstance(image, bytes):
            image = self._decode(image, self._random)
        return (self.preprocess.before_last if self.engine.takes_pixels else self.preprocess)(image, self._random)

    def _planes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a prepared image as C x H x W."""
        return (shape[2], *shape[:2]) if self.engine.takes_pixels else shape
