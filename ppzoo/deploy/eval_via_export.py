"""A network that is only asked, not trained, at the speed of its export: two to three times the network's own.

Which images go through the export is decided before the first one, by the number of images alone: an image has the
same output wherever it stands among the others, and on however many processes they are evaluated.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import paddle

from ppzoo.deploy.export_dir import PARAMETERS, PROGRAM, PROGRAM_FILES
from ppzoo.deploy.program import InferenceProgram
from ppzoo.deploy.rounding import errors, is_rounding, outputs_of
from ppzoo.errors import TrainingError, describe_failure
from ppzoo.files import write_atomically
from ppzoo.finite import require_finite
from ppzoo.layers import Classifier

WORTHWHILE = 512  # images; exporting takes about as long as the network does with half of these
TOLERANCE = 1e-4
COMPARED = 8  # images, where that tolerance is not met by the first two
SPACE = 1 << 16


def exported_outputs(network: paddle.nn.Layer) -> Any:
    """`network`, which must not be trained meanwhile, in a form that `expect` makes faster, with outputs within 1e-4.

    On a GPU, and for other layers than classifiers, it is `network` itself.
    """
    if not (isinstance(network, Classifier) and paddle.get_device().startswith("cpu")):
        return network
    return _Accelerated(network)


def plan_export(network: paddle.nn.Layer, count: int, images: paddle.Tensor) -> None:
    """Let the `accelerated` network, or those in `network`, export themselves if that is worthwhile for `count` images.

    Args:
        images: a few of them; those of other shapes go through the network.

    Raises:
        TrainingError: network and export differ.
    """
    if count < WORTHWHILE:
        return
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, _Accelerated):
            with paddle.no_grad():
                layer.export(images)


class _Accelerated(paddle.nn.Layer):
    """Runs the network, or for images of a shape for which it was exported the export, by Paddle Inference."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self._programs: dict[tuple[int, ...], InferenceProgram] = {}

    def export(self, images: paddle.Tensor) -> None:
        shape = tuple(images.shape[1:])
        if shape not in self._programs:
            self._programs[shape] = _checked(self.network, images)

    def forward(self, images: paddle.Tensor) -> Any:
        program = self._programs.get(tuple(images.shape[1:]))
        if self.training or program is None:
            return self.network(images)
        outputs = [paddle.to_tensor(output) for output in program(images)]
        return outputs if len(outputs) > 1 else outputs[0]


class _Plain(paddle.nn.Layer):
    """The network under a class of its own, for `paddle.jit.save` leaves traces in what it saves."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)


def _checked(network: Classifier, images: paddle.Tensor) -> InferenceProgram:
    """The network as a program, compared with it on the first few of `images`.

    Raises:
        TrainingError: they differ, or there is no room for the program in the folder of temporary files.
    """
    try:
        running = _exported(network, images)
    except OSError as error:
        raise TrainingError(
            f"cannot write the network's inference program ({describe_failure(error)}): free some space, or set TMPDIR"
        ) from error
    some = images[:COMPARED].numpy()
    expected = outputs_of(network)(some[:2])
    require_finite(expected)
    difference = errors(running(some[:2]), expected, relative=True).max()
    if not (difference <= TOLERANCE or is_rounding(network, running, some, TOLERANCE, relative=True)):
        raise TrainingError(
            f"the exported network differs from the network by {difference:.2g} of its largest score (at most"
            f" {TOLERANCE:g} is allowed): please report the architecture and the version of PaddlePaddle"
        )
    return running


def _exported(network: Classifier, images: paddle.Tensor) -> InferenceProgram:
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as place:
        spec = paddle.static.InputSpec([None, *images.shape[1:]], "float32", "image")
        plain = _Plain(network)
        plain.eval()
        paddle.jit.save(plain, str(Path(place) / PROGRAM), input_spec=[spec])
        # PaddlePaddle does not report that its files are cut off by a full disk; the next file does.
        write_atomically(Path(place) / "space", lambda file: file.write(bytes(SPACE)))
        program = next(Path(place) / name for name in PROGRAM_FILES if (Path(place) / name).is_file())
        return InferenceProgram(program, Path(place) / PARAMETERS)
