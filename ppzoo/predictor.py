"""The door of those who serve: an exported folder answers about images, and needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from ppzoo import builders
from ppzoo.deploy import SETTINGS, Batch, Normalization, fastest_engine, shape_error, parse_postprocess, open_engine, open_export
from ppzoo.errors import BatchError, ConfigError, DataError, PpzooError
from ppzoo.files import local_path
from ppzoo.finite import require_finite
from ppzoo.host import usable_cores
from ppzoo.image_inputs import Image, to_path, describe_invalid_image

Postprocess = Callable[[np.ndarray], list[dict[str, Any]]]


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
            raise ConfigError(f"batch_size: expected at least 1, got {batch_size}")
        self._process = os.getpid()
        exported = open_export(local_path(export_dir, "export_dir").expanduser())
        ops = exported.settings["PreProcess"]["transform_ops"]
        builders.require_export(exported)
        self.preprocess = builders.build_transforms(ops)
        decodes = any("DecodeImage" in op for op in ops)  # PaddleClas's own exports leave it to their caller
        self._decode = None if decodes else builders.build_transforms([{"DecodeImage": {}}])
        last = self.preprocess.last if self.preprocess.leaves_pixels else None
        settings = exported, batch_size, Normalization(*last.linear()) if last else None
        self.engine = fastest_engine(*settings) if engine == "auto" else open_engine(engine, *settings)
        self.postprocess = parse_postprocess(exported.settings["PostProcess"])
        self._channels = _array_channels(ops)
        self.batch_size = batch_size
        self._random = np.random.default_rng()
        self._answers: dict[int, Postprocess] = {}
        self._cores = usable_cores()
        self._helpers = ThreadPoolExecutor(self._cores, thread_name_prefix="ppzoo-reader")
        self._engine_is_free = Lock()

    def predict(self, images: Image | Sequence[Image], topk: int = 5) -> list[dict[str, Any]]:
        """The `topk` classes of each image: `class_ids`, `scores` (probabilities) and `label_names`, the best first.

        An export of a network for several labels an image answers those that reach its threshold instead.

        Args:
            images: paths, encoded bytes, or H x W x 3 uint8 RGB arrays; a single one is a list of one.

        Raises:
            ConfigError: `topk` out of its range, or the export names more classes than its network has.
            DataError: an image that cannot be read, or whose shape after preprocessing does not fit. Of a list it is a
                `ppzoo.errors.BatchError`, raised when all images have been tried: `errors` has the error of each such
                image by its index in `images`, `results` the predictions of the others, and None in its place.
            PpzooError: this process was forked from the one that created the predictor.
            TrainingError: the network's output is not finite; names the image.
        """
        if os.getpid() != self._process:  # the threads of the engine and of the readers were not forked with it
            raise PpzooError("this Predictor was created in another process; create it in this one")
        several: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        answer = self._answer(topk)
        results: list[dict[str, Any] | DataError] = []
        for start in range(0, len(several), self.batch_size):
            batch = several[start : start + self.batch_size]
            try:
                results += self._results(batch, start, answer)
            except DataError:
                for index, image in enumerate(batch, start):
                    results += [self._result_or_error(index, image, answer)]
        errors = {index: result for index, result in enumerate(results) if isinstance(result, DataError)}
        if errors and several is not images:
            raise errors[0]
        if errors:
            raise BatchError(errors, [None if index in errors else result for index, result in enumerate(results)])
        return results  # type: ignore[return-value]  # none of them is an error

    def _results(self, images: Sequence[Image], start: int, answer: Postprocess) -> list[dict[str, Any]]:
        """The predictions of some images, the first of which has the index `start`."""
        probabilities = self._probabilities(images)
        require_finite(probabilities, [_image_name(*pair) for pair in enumerate(images, start)].__getitem__)
        return answer(probabilities)

    def _result_or_error(self, index: int, image: Image, answer: Postprocess) -> dict[str, Any] | DataError:
        """The prediction of an image by itself, or the error that says what is wrong with this image."""
        try:
            (result,) = self._results([image], index, answer)
        except DataError as error:
            return DataError(describe_invalid_image(image, error, self._channels))
        return result

    def _answer(self, topk: int) -> Postprocess:
        if topk not in self._answers:
            name, options = self.postprocess
            section = {**options, "name": name, **({"topk": topk} if name == "Topk" else {})}
            self._answers[topk] = builders.build_postprocess(section, dict(enumerate(options["label_list"])))
        return self._answers[topk]

    def _probabilities(self, images: Sequence[Image]) -> np.ndarray:
        """N x class_num of some images."""
        first = self._prepare(images[0])
        with self._engine_is_free:
            batch = self.engine.batch((len(images), *first.shape))
            batch.put(0, first)
            if len(images) > 1:
                self._fill(batch, images)
            return self._require_classes(batch.probabilities())

    def _require_classes(self, probabilities: np.ndarray) -> np.ndarray:
        """Refuse names of other classes: a list of more names than classes belongs to another network."""
        name, options = self.postprocess
        names, classes = len(options["label_list"]), probabilities.shape[1]
        if names > classes:
            raise ConfigError(
                f"{SETTINGS}: PostProcess.{name}.label_list: expected {classes} names, one for each class,"
                f" got {names}: export with the names of its classes"
            )
        return probabilities

    def _fill(self, batch: Batch, images: Sequence[Image]) -> None:
        """Prepare all images but the first on all cores, of which this thread is one."""
        cores = min(self._cores, len(images) - 1)

        def fill(start: int) -> None:
            for index in range(start, len(images), cores):
                prepared = self._prepare(images[index])
                if prepared.shape != batch.images.shape[1:]:
                    raise shape_error((1, *self._planes(prepared.shape)))
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
        if isinstance(image, (str, os.PathLike)):
            return builders.read_image(Path(to_path(image)), self._transform)
        is_array = isinstance(image, np.ndarray) and image.ndim == 3 and image.size and image.dtype == np.uint8
        if is_array or isinstance(image, bytes):
            return self._transform(image)
        raise DataError("it is of another kind")

    def _transform(self, image: bytes | np.ndarray) -> np.ndarray:
        if self._decode and isinstance(image, bytes):
            image = self._decode(image, self._random)
        return (self.preprocess.before_last if self.engine.takes_pixels else self.preprocess)(image, self._random)

    def _planes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a prepared image as C x H x W."""
        return (shape[2], *shape[:2]) if self.engine.takes_pixels else shape


def _image_name(index: int, image: Image) -> str:
    """What errors call an image: its path, or its place among those that were given."""
    return str(image) if isinstance(image, (str, os.PathLike)) else f"image {index + 1}"


def _array_channels(ops: Sequence[dict[str, Any]]) -> int:
    """How many channels the transforms of an export take of arrays."""
    options = {name: given or {} for op in ops for name, given in op.items()}
    mean = options.get("NormalizeImage", {}).get("mean")
    return options.get("DecodeImage", {}).get("channels") or (len(mean) if isinstance(mean, list) else 3)
