"""An exported network as the service runs it: images or tensors in, one result or error for each."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppzoo.deploy import open_engine
from ppzoo.errors import BatchError, ConfigError, PpzooError
from ppzoo.finite import require_finite
from ppzoo.predictor import Predictor
from ppzoo.serve.options import EngineName

if TYPE_CHECKING:
    from ppzoo.serve.options import Explain, OpenExplain

LISTS = ("class_ids", "scores", "label_names")


class Network:
    """An export, loaded and warmed up; only one thread at a time can use it.

    Args:
        folder: the export.
        batch_size: the largest number of images computed at once.
        open_explain: see `ServiceOptions`.

    Attributes:
        class_num: number of classes.
        image_shape: C x H x W of a preprocessed image.
        labels: names of the classes; if the last classes have no names, there are fewer names than classes.
        explain: draws Grad-CAM overlays; None if that is not possible.
        explain_problem: the reason why `explain` is None.
        is_topk: whether `predict` returns the best classes, and not all that reach a threshold.

    Raises:
        PpzooError: see `Predictor`.
    """

    def __init__(
        self, folder: Path, *, batch_size: int, engine: EngineName, open_explain: OpenExplain | None = None
    ) -> None:
        self.predictor = Predictor(folder, batch_size=batch_size, engine=engine)
        self.engine_name = self.predictor.engine.name
        self.is_topk = self.predictor.postprocess[0] == "Topk"
        self.labels = self.predictor.exported.labels
        self.image_shape, self.class_num = self._warm_up()
        self._tensor_engine: Any = None
        self.explain: Explain | None = None
        self.explain_problem = "the service was started without it"
        if open_explain is not None:
            try:
                self.explain = open_explain(self.predictor.exported)
            except ConfigError as error:
                self.explain_problem = error.line

    def predict(self, images: Sequence[bytes], topk: int) -> list[dict[str, Any] | PpzooError]:
        """Return the prediction of each image, or its error."""
        topk = min(topk, self.class_num)
        return _run_each(lambda some: self.predictor.predict(some, topk), images)

    def probabilities(self, images: Sequence[bytes]) -> list[np.ndarray | PpzooError]:
        """Return the probabilities of all classes for each image, or its error."""
        return _run_each(lambda some: list(self.predictor.probabilities(some)), images)

    def compute(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray | PpzooError]:
        """Return the probabilities of each preprocessed image, C x H x W float32, or its error."""
        if self._tensor_engine is None:
            predictor, engine = self.predictor, self.predictor.engine
            self._tensor_engine = (
                open_engine(engine.name, predictor.exported, predictor.batch_size, precision=predictor.precision)
                if engine.takes_pixels
                else engine
            )

        def compute(some: Sequence[np.ndarray]) -> list[np.ndarray]:
            probabilities = np.array(self._tensor_engine(np.stack(some)))
            require_finite(probabilities, "image {}".format)
            return list(probabilities)

        return _run_each(compute, tensors)

    def _warm_up(self) -> tuple[list[int], int]:
        """Predict a gray image, and return C x H x W of the network's input and the number of classes."""
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
        self.predictor.predict([buffer.getvalue()] * self.predictor.batch_size, 1)
        takes_pixels = self.predictor.engine.takes_pixels
        transform: Callable[..., np.ndarray] = self.predictor.preprocess
        if takes_pixels:
            transform = self.predictor.preprocess.before_last
        prepared = transform(buffer.getvalue(), np.random.default_rng(0))
        class_num = self.predictor.engine(prepared[np.newaxis]).shape[1]
        shape = prepared.shape
        return list((shape[2], *shape[:2]) if takes_pixels else shape), class_num


def _run_each(compute: Callable[[list[Any]], list[Any]], images: Sequence[Any]) -> list[Any]:
    """Return the result of each image or its error; if it is unknown which image failed, compute them one by one."""
    try:
        return compute(list(images))
    except BatchError as error:
        return error.results_or_errors()
    except PpzooError as error:
        if len(images) == 1:
            return [error]
        return [result for image in images for result in _run_each(compute, [image])]


def first_classes(prediction: dict[str, Any], topk: int) -> dict[str, Any]:
    """Return a prediction with only its `topk` best classes."""
    return {key: value[:topk] if key in LISTS else value for key, value in prediction.items()}
