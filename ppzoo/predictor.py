"""Predict the classes of images with an exported network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from ppzoo import builders
from ppzoo.data.compiled import library
from ppzoo.deploy import (
    Batch,
    Engine,
    Normalization,
    default_precision,
    fastest_engine,
    fastest_precision,
    lower_precisions,
    open_engine,
    open_export,
    parse_postprocess,
    require_label_count,
    shape_error,
)
from ppzoo.errors import BatchError, ConfigError, DataError, PpzooError
from ppzoo.files import expand_user, local_path, require_path
from ppzoo.finite import require_finite
from ppzoo.host import usable_cores
from ppzoo.image_inputs import Image, describe_invalid_image, to_path

Postprocess = Callable[[np.ndarray], list[dict[str, Any]]]
Convert = Callable[[list[np.ndarray]], list[Any]]
"""Makes a result for each image of a batch from the engine's outputs."""


class Predictor:
    """Predicts the classes of images with an exported network; thread-safe.

    Args:
        export_dir: a folder that `ppzoo export` or `tools/export_model.py` wrote, or an export of PaddleX, which can be
            a folder or a tar file.
        batch_size: the largest number of images computed at once, at least 1.
        engine: the inference engine: "paddle", "onnxruntime" or "openvino" (the last two on a CPU, after
            `pip install 'ppzoo[onnxruntime]'` or `'ppzoo[openvino]'`), or "auto", the fastest installed engine for
            batches of `batch_size`, measured once for each machine, export and `batch_size`. The probabilities of all
            engines agree with the network's within 1e-4.
        precision: "float32"; "bfloat16" (OpenVINO, on processors that have it); "int8" (for an export with
            `--precision int8`); or "auto", the fastest of these that can run here and that agrees with float32 on
            `images`; without `images`, "auto" is float32. By default the precision of the export, or float32 if that
            precision cannot run here.
        images: images as for `predict`, to compare precisions on; only with "auto".
        max_drop: with "auto", the largest fraction of `images` whose most probable class can differ from float32's.

    Attributes:
        exported: the export.
        engine: the engine in use; `engine.name` is its name.
        precision: the precision in use.

    Raises:
        ConfigError: an argument is out of range, or the engine is not installed or cannot run the export in that
            precision.
        PpzooError: the folder is not an export or is damaged, or the engine's outputs differ from the network's.
    """

    def __init__(
        self,
        export_dir: str | os.PathLike[str],
        *,
        batch_size: int = 16,
        engine: Literal["auto", "paddle", "onnxruntime", "openvino"] = "auto",
        precision: Literal["auto", "float32", "bfloat16", "int8"] | None = None,
        images: Image | Sequence[Image] = (),
        max_drop: float = 0.01,
    ) -> None:
        if not isinstance(batch_size, (int, np.integer)) or isinstance(batch_size, bool) or batch_size < 1:
            raise ConfigError(f"batch_size: expected an integer of at least 1, got {batch_size!r:.60}")
        batch_size = int(batch_size)
        if not isinstance(max_drop, (int, float)) or not 0 <= max_drop <= 1:
            raise ConfigError(f"max_drop: expected 0 to 1, got {max_drop!r:.60}")
        compared: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
        if compared and precision != "auto":
            raise ConfigError(f"images: expected precision='auto' with images, got {precision!r}")
        self._process = os.getpid()
        self.exported = exported = open_export(
            local_path(expand_user(require_path(export_dir, "export_dir")), "export_dir")
        )
        builders.require_export(exported)
        library.prepare()  # compiles the code that resizes and normalizes images, once per machine
        self.preprocess = builders.build_transforms(exported.transform_ops)
        last = self.preprocess.last if self.preprocess.leaves_pixels else None
        settings = exported, batch_size, Normalization(*last.linear()) if last else None

        def open_precision(name: str) -> Engine:
            if engine == "auto":
                return fastest_engine(*settings, precision=name)
            return open_engine(engine, *settings, precision=name)

        self.postprocess = parse_postprocess(exported.settings["PostProcess"])
        self._label_names = dict(enumerate(exported.labels))
        self._channels = _array_channels(exported.transform_ops)
        self.batch_size = batch_size
        self._random = np.random.default_rng()
        self._postprocesses: dict[int, Postprocess] = {}
        self._cores = usable_cores()
        self._threads = ThreadPoolExecutor(self._cores, thread_name_prefix="ppzoo-predictor")
        self._engine_lock = Lock()
        self.precision = default_precision(exported, engine) if precision in (None, "auto") else str(precision)
        self.engine = open_precision("float32" if precision == "auto" else self.precision)
        if precision == "auto":
            self.precision, self.engine = self._choose_precision(engine, compared, max_drop, open_precision)

    def _choose_precision(
        self,
        engine: str,
        images: Sequence[Image],
        max_drop: float,
        open_precision: Callable[[str], Engine],
    ) -> tuple[str, Engine]:
        """Return the fastest precision that agrees with float32 on images, and its engine."""
        opened = {"float32": self.engine}
        if not images:
            return "float32", self.engine
        opened |= {name: open_precision(name) for name in lower_precisions(self.exported, engine)}
        classes = {}
        for name, candidate in opened.items():
            self.engine = candidate
            classes[name] = np.array(self._run(images, lambda outputs: outputs[0].argmax(1).tolist()))
        shape = self._chw(self._prepare(images[0]).shape)
        return fastest_precision(opened, classes, (self.batch_size, *shape), max_drop)

    def predict(self, images: Image | Sequence[Image], topk: int = 5) -> list[dict[str, Any]]:
        """Return the `topk` classes of each image, best first: `class_ids`, `scores` and `label_names`.

        The scores are probabilities. If the postprocessing of the export is not `Topk`, `topk` has no effect: for an
        export of a multi-label network, all classes that reach its threshold are returned, in the order of indices.

        Args:
            images: a path, the bytes of an image file, or an H x W x 3 uint8 RGB array; or a list of these.

        Raises:
            ConfigError: `topk` is out of range, or the export has more label names than its network has classes.
            DataError: an image cannot be read, or its shape after preprocessing does not match the network. For a list
                of images, a `ppzoo.errors.BatchError` is raised after all images have been tried: its `errors` maps the
                index of each failed image to its error, and its `results` has the predictions, None for failed images.
            PpzooError: this process was forked from the one that created the predictor.
            TrainingError: the network's output for an image, which the message names, is not finite.
        """
        postprocess = self._postprocess_for(topk)
        return self._run(images, lambda outputs: postprocess(outputs[0]))

    def probabilities(self, images: Image | Sequence[Image]) -> np.ndarray:
        """Return the probabilities of all classes for each image, N x class_num float32.

        Args:
            images: as for `predict`.

        Raises:
            ConfigError, DataError, PpzooError, TrainingError: as for `predict`.
        """
        results = self._run(images, lambda outputs: list(outputs[0]))
        return np.stack(results) if results else np.empty((0, 0), np.float32)

    def features(self, images: Image | Sequence[Image]) -> np.ndarray:
        """Return the features of images, the input of the network's classifier, as N x D float32.

        Args:
            images: as for `predict`.

        Raises:
            ConfigError: the export has no features.
            DataError, PpzooError, TrainingError: as for `predict`.
        """
        results = self._run(images, _features)
        return np.stack(results) if results else np.empty((0, 0), np.float32)

    def _run(self, images: Image | Sequence[Image], convert: Convert) -> list[Any]:
        """Return a result for each image; `convert` makes those of a batch from the engine's outputs."""
        if os.getpid() != self._process:  # a forked process has none of its parent's threads
            raise PpzooError("this Predictor was created in another process; create it in this one")
        image_list: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        results: list[Any] = []
        for start in range(0, len(image_list), self.batch_size):
            batch = image_list[start : start + self.batch_size]
            try:
                results += self._results(batch, start, convert)
            except DataError:
                for index, image in enumerate(batch, start):
                    results += [self._result_or_error(index, image, convert)]
        errors = {index: result for index, result in enumerate(results) if isinstance(result, DataError)}
        if errors and image_list is not images:
            raise errors[0]
        if errors:
            raise BatchError(errors, [None if index in errors else result for index, result in enumerate(results)])
        return results

    def _results(self, images: Sequence[Image], start: int, convert: Convert) -> list[Any]:
        """Return the results of a batch whose first image has the index `start`."""
        outputs = self._outputs(images)
        require_finite(outputs[0], [_image_name(*pair) for pair in enumerate(images, start)].__getitem__)
        return convert(outputs)

    def _result_or_error(self, index: int, image: Image, convert: Convert) -> Any | DataError:
        """Return the result of a single image, or its error."""
        try:
            (result,) = self._results([image], index, convert)
        except DataError as error:
            return DataError(describe_invalid_image(image, error, self._channels))
        return result

    def _postprocess_for(self, topk: int) -> Postprocess:
        if topk not in self._postprocesses:
            name, options = self.postprocess
            section = {**options, "name": name, **({"topk": topk} if name == "Topk" else {})}
            self._postprocesses[topk] = builders.build_postprocess(section, self._label_names)
        return self._postprocesses[topk]

    def _outputs(self, images: Sequence[Image]) -> list[np.ndarray]:
        """Return the probabilities of a batch, N x class_num, and its features if the export has them."""
        first = self._prepare_first(images[: self._cores])
        with self._engine_lock:
            batch = self.engine.batch((len(images), *first[0].shape))
            for index, prepared in enumerate(first):
                self._set_image(batch, index, prepared)
            if len(images) > len(first):
                self._fill(batch, images, len(first))
            outputs = batch.outputs()
        require_label_count(self.postprocess[0], len(self._label_names), outputs[0].shape[1])
        return outputs

    def _prepare_first(self, images: Sequence[Image]) -> list[np.ndarray]:
        """Preprocess the first images of a batch, one per core; this thread is one of the workers."""
        futures = [self._threads.submit(self._prepare, image) for image in images[1:]]
        return [self._prepare(images[0]), *(future.result() for future in futures)]

    def _fill(self, batch: Batch, images: Sequence[Image], done: int) -> None:
        """Preprocess all images but the first `done` on all cores; this thread is one of the workers."""
        cores = min(self._cores, len(images) - done)

        def fill(start: int) -> None:
            for index in range(start, len(images), cores):
                self._set_image(batch, index, self._prepare(images[index]))

        futures = [self._threads.submit(fill, done + number) for number in range(1, cores)]
        try:
            fill(done)
        finally:
            wait(futures)
        for future in futures:
            future.result()

    def _set_image(self, batch: Batch, index: int, prepared: np.ndarray) -> None:
        if prepared.shape != batch.images.shape[1:]:
            raise shape_error((1, *self._chw(prepared.shape)))
        batch.set_image(index, prepared)

    def _prepare(self, image: Image) -> np.ndarray:
        """Read and preprocess an image for the engine."""
        if isinstance(image, (str, os.PathLike)):
            return builders.read_image(Path(to_path(image)), self._transform)
        is_array = isinstance(image, np.ndarray) and image.ndim == 3 and image.size and image.dtype == np.uint8
        if is_array or isinstance(image, bytes):
            return self._transform(image)
        raise DataError("not an image")

    def _transform(self, image: bytes | np.ndarray) -> np.ndarray:
        return (self.preprocess.before_last if self.engine.takes_pixels else self.preprocess)(image, self._random)

    def _chw(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a preprocessed image as C x H x W."""
        return (shape[2], *shape[:2]) if self.engine.takes_pixels else shape


def _features(outputs: list[np.ndarray]) -> list[np.ndarray]:
    if len(outputs) < 2:
        raise ConfigError(
            "features: expected an export with features; export the network with `ppzoo export --features`"
        )
    return list(outputs[1])


def _image_name(index: int, image: Image) -> str:
    """Return the name of an image in error messages: its path, or its number."""
    return str(image) if isinstance(image, (str, os.PathLike)) else f"image {index + 1}"


def _array_channels(ops: Sequence[dict[str, Any]]) -> int:
    """Return the number of channels that the transforms of an export expect of arrays."""
    options = {name: given or {} for op in ops for name, given in op.items()}
    mean = options.get("NormalizeImage", {}).get("mean")
    return options.get("DecodeImage", {}).get("channels") or (len(mean) if isinstance(mean, list) else 3)
