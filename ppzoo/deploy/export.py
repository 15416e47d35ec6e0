"""Export a network with softmax as an inference program, and check the program against the network.

The export folder contains `inference.json` (`inference.pdmodel` with PaddlePaddle 2), `inference.pdiparams` and
`inference.yml`: the preprocessing and the label names in the layout that PaddleClas's deployment reads, and the SHA-256
of the other files.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppzoo import yaml_io
from ppzoo.deploy.export_dir import DIGESTS, PROGRAM, SETTINGS, move_into_place, open_export
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.deploy.rounding import is_rounding
from ppzoo.errors import ConfigError, OutputError, TrainingError
from ppzoo.files import sha256
from ppzoo.finite import in_batch, require_finite
from ppzoo.layers import Classifier
from ppzoo.progress import Progress

logger = logging.getLogger("ppzoo")

EXPORT_TOLERANCE = 1e-5  # max. absolute difference of probabilities between an export and its network
MORE_IMAGES = 8  # compared if the first few exceed the tolerance


class Probabilities(paddle.nn.Layer):
    """A network with softmax over its class scores; of several outputs, the first (the main head) is used.

    Args:
        multi_label: use a sigmoid for each class instead.
    """

    def __init__(self, network: paddle.nn.Layer, *, multi_label: bool = False) -> None:
        super().__init__()
        self.network = network
        self.multi_label = multi_label

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.from_scores(self.network(image))

    def from_scores(self, scores: paddle.Tensor | Sequence[paddle.Tensor]) -> paddle.Tensor:
        """Convert the network's outputs to probabilities."""
        scores = scores[0] if isinstance(scores, (list, tuple)) else scores
        if self.multi_label:
            return paddle.nn.functional.sigmoid(scores)
        return paddle.nn.functional.softmax(scores, axis=-1)


def export(
    network: paddle.nn.Layer,
    folder: Path,
    image_shape: Sequence[int],
    settings: dict[str, Any],
    *,
    multi_label: bool = False,
) -> float:
    """Write `network` as an inference program into `folder` and check it.

    The program is written to a temporary folder and moved to `folder` only after the check.

    Args:
        network: outputs class scores. Its re-parameterized blocks are fused (see `Classifier.fuse`).
        image_shape: channels x height x width; the batch size is dynamic.
        settings: the content of `inference.yml`; the SHA-256 of the other files is added.
        multi_label: see `Probabilities`.

    Returns:
        The max. absolute difference between the probabilities of the program and the network.

    Raises:
        ConfigError: the network cannot take images of that shape.
        TrainingError: the program's outputs differ from the network's, or an output is not finite.
        OutputError: the folder cannot be written.
    """
    model = Probabilities(network, multi_label=multi_label)
    model.eval()
    _require_valid_shape(model, image_shape)
    random = np.random.default_rng(0)
    batches = [random.standard_normal((count, *image_shape), dtype=np.float32) for count in (2, 1)]
    expected = [predict_probabilities(model, images, "a random image".format) for images in batches]
    if isinstance(network, Classifier):
        network.fuse()
    try:
        existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.isdir(parent))
        with (
            Progress(4, "exporting", unit="step") as progress,
            tempfile.TemporaryDirectory(prefix=".export-", dir=existing) as name,
        ):
            staged = Path(name)
            spec = paddle.static.InputSpec([None, *image_shape], "float32", "image")
            paddle.jit.save(model, str(staged / PROGRAM), input_spec=[spec])
            progress.advance()
            digests = {file.name: sha256(file) for file in sorted(staged.iterdir())}
            text = yaml_io.dump({**settings, DIGESTS: digests})
            (staged / SETTINGS).write_text(text, encoding="utf-8")
            progress.advance()
            difference = _check_outputs(model, PaddleEngine(open_export(staged)), batches, expected)
            progress.advance()
            move_into_place(staged, folder)
            progress.advance()
    except OSError as error:
        raise OutputError(folder, error, key="Global.save_inference_dir") from error
    return difference


def predict_probabilities(
    model: Probabilities, images: np.ndarray, describe: Callable[[int], str] = in_batch
) -> np.ndarray:
    """Return the probabilities of a batch of images, N x class_num, without gradients.

    Args:
        describe: index of an image -> its name in error messages.

    Raises:
        TrainingError: a score is not finite (checked before the sigmoid, which would hide it).
    """
    with paddle.no_grad():
        scores = model.network(paddle.to_tensor(images))
        require_finite(scores, describe)
        return model.from_scores(scores).numpy()


def _require_valid_shape(model: Probabilities, image_shape: Sequence[int]) -> None:
    """Run the network on one image of that shape before anything is written."""
    try:
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError("not an image shape")
        predict_probabilities(model, np.zeros((1, *image_shape), np.float32), "a black image".format)
    except ValueError as error:  # PaddlePaddle's operators raise it for shapes that do not match
        received = " x ".join(map(str, image_shape))
        raise ConfigError(
            f"Global.image_shape: expected channels x height x width that the network can take, got {received}"
        ) from error


def _check_outputs(
    model: Probabilities, program: PaddleEngine, batches: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> float:
    """Return the max. absolute difference from the expected outputs; raise if rounding does not explain it."""
    largest = 0.0
    for images, outputs in zip(batches, expected, strict=True):
        received = program(images)
        require_finite(received, "a random image".format)
        largest = max(largest, float(np.abs(received - outputs).max()))
    if largest <= EXPORT_TOLERANCE:
        return largest
    more = np.random.default_rng(1).standard_normal((MORE_IMAGES, *batches[0].shape[1:]), dtype=np.float32)
    if not is_rounding(model, lambda images: [program(images)], more, EXPORT_TOLERANCE):
        raise TrainingError(
            f"the exported program differs from the network by {largest:.2g} (tolerance {EXPORT_TOLERANCE:g}):"
            " nothing was exported; please report the architecture and the version of PaddlePaddle"
        )
    logger.warning(
        "the network is badly conditioned: float32 rounding changes its outputs, and the exported program differs"
        " from it by %.2g; training longer usually fixes this",
        largest,
    )
    return largest
