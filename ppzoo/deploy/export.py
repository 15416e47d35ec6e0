"""Export: the network with softmax as a static program, checked against the network, with all that serving it needs.

The folder holds `inference.json` (or `inference.pdmodel`, as PaddlePaddle's version has it), `inference.pdiparams` and
`inference.yml`: preprocessing and label names in the layout that PaddleClas's deployment reads, and the
others' SHA-256.
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
from ppzoo.deploy.export_dir import DIGESTS, PROGRAM, SETTINGS, open_export, move_into_place
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.deploy.rounding import is_rounding
from ppzoo.errors import ConfigError, OutputError, TrainingError
from ppzoo.files import sha256
from ppzoo.finite import in_batch, require_finite

logger = logging.getLogger("ppzoo")

EXPORT_TOLERANCE = 1e-5
MORE_IMAGES = 8  # images, where that tolerance is not met


class Probabilities(paddle.nn.Layer):
    """The network with softmax over its class scores; of several outputs the first, which is the main head.

    Args:
        multi_label: each class for itself, by a sigmoid.
    """

    def __init__(self, network: paddle.nn.Layer, *, multi_label: bool = False) -> None:
        super().__init__()
        self.network = network
        self.multi_label = multi_label

    def forward(self, image):
        return self.of(self.network(image))

    def of(self, scores):
        """The probabilities of what the network answered."""
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
    """Write `network` as an inference program into `folder` and check it there.

    The folder is made, and the files appear in it, only after the check.

    Args:
        network: answers class scores.
        image_shape: channels x height x width; the batch size stays free.
        settings: the content of `inference.yml`, to which the digests of the other files are added.
        multi_label: as for `Probabilities`.

    Returns:
        The largest difference found between a probability of the program and one of the network.

    Raises:
        ConfigError: the network cannot take images of that shape.
        TrainingError: the program's outputs differ from the network's, or an output is not finite.
        OutputError: the folder cannot be written.
    """
    model = Probabilities(network, multi_label=multi_label)
    model.eval()
    _require_valid_shape(model, image_shape)
    try:
        standing = next(place for place in (folder, *folder.absolute().parents) if os.path.isdir(place))
        with tempfile.TemporaryDirectory(prefix=".export-", dir=standing) as place:
            spec = paddle.static.InputSpec([None, *image_shape], "float32", "image")
            paddle.jit.save(model, str(Path(place) / PROGRAM), input_spec=[spec])
            digests = {file.name: sha256(file) for file in sorted(Path(place).iterdir())}
            text = yaml_io.dump({**settings, DIGESTS: digests})
            (Path(place) / SETTINGS).write_text(text, encoding="utf-8")
            difference = _check_outputs(model, PaddleEngine(open_export(Path(place))), image_shape)
            move_into_place(Path(place), folder)
    except OSError as error:
        raise OutputError(folder, error) from error
    return difference


def predict_probabilities(model: Probabilities, images: np.ndarray, describe: Callable[[int], str] = in_batch) -> np.ndarray:
    """The probabilities of some images, N x class_num, without gradients.

    Args:
        describe: what the error calls image number i.

    Raises:
        TrainingError: a score is not finite, which a sigmoid might hide.
    """
    with paddle.no_grad():
        scores = model.network(paddle.to_tensor(images))
        require_finite(scores, describe)
        return model.of(scores).numpy()


def _require_valid_shape(model: Probabilities, image_shape: Sequence[int]) -> None:
    """Let the network look at one image before anything is written."""
    try:
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError("no shape of an image")
        predict_probabilities(model, np.zeros((1, *image_shape), np.float32), "a black image".format)
    except ValueError as error:  # PaddlePaddle's operators raise it of shapes that do not go together
        received = " x ".join(map(str, image_shape))
        raise ConfigError(
            f"Global.image_shape: expected channels x height x width that the network can take, got {received}"
        ) from error


def _check_outputs(model: Probabilities, program: PaddleEngine, image_shape: Sequence[int]) -> float:
    """The largest difference over a batch of two and a batch of one, or an error where it is more than rounding."""
    random = np.random.default_rng(0)
    largest = 0.0
    for batch in (2, 1):
        images = random.standard_normal((batch, *image_shape), dtype=np.float32)
        expected, received = predict_probabilities(model, images, "a random image".format), program(images)
        require_finite(received, "a random image".format)
        largest = max(largest, float(np.abs(received - expected).max()))
    if largest <= EXPORT_TOLERANCE:
        return largest
    more = random.standard_normal((MORE_IMAGES, *image_shape), dtype=np.float32)
    if not is_rounding(model, lambda images: [program(images)], more, EXPORT_TOLERANCE):
        raise TrainingError(
            f"the exported program differs from the network by {largest:.2g} (at most {EXPORT_TOLERANCE:g} is allowed):"
            " nothing was exported; please report the architecture and the version of PaddlePaddle"
        )
    logger.warning(
        "the network is badly conditioned: rounding changes its outputs in float32, and the exported program differs"
        " from it by %.2g; a longer training usually ends that",
        largest,
    )
    return largest
