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
from ppzoo.deploy.paddle_engine import InferenceProgram
from ppzoo.deploy.rounding import max_errors, is_rounding, output_function
from ppzoo.errors import TrainingError, describe_os_error
from ppzoo.files import write_atomically
from ppzoo.finite import require_finite
from ppzoo.layers import Classifier

MIN_IMAGES = 512  # images; exporting takes about as long as the network does with half of these
RELATIVE_TOLERANCE = 1e-4
MORE_IMAGES = 8  # images, where that tolerance is not met by the first two
PROBE_SIZE = 1 << 16


def accelerate_eval(network: paddle.nn.Layer) -> Any:
    """`network`, which must not be trained meanwhile, in a form that `expect` makes faster, with outputs within 1e-4.

    On a GPU, and for other layers than classifiers, it is `network` itself.
    """
    if not (isinstance(network, Classifier) and paddle.get_device().startswith("cpu")):
        return network
    return _AcceleratedNetwork(network)


def export_if_worthwhile(network: paddle.nn.Layer, count: int, images: paddle.Tensor) -> None:
    """Let the `accelerated` network, or those in `network`, export themselves if that is worthwhile for `count` images.

    Args:
        images: a few of them; those of other shapes go through the network.

    Raises:
        TrainingError: network and export differ.
    """
    if count < MIN_IMAGES:
        return
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, _AcceleratedNetwork):
            with paddle.no_grad():
                layer.export(images)


class _AcceleratedNetwork(paddle.nn.Layer):
    """Runs the network, or for images of a shape for which it was exported the export, by Paddle Inference."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self._programs: dict[tuple[int, ...], InferenceProgram] = {}

    def export(self, images: paddle.Tensor) -> None:
        shape = tuple(images.shape[1:])
        if shape not in self._programs:
            self._programs[shape] = _export_and_check(self.network, images)

    def forward(self, images: paddle.Tensor) -> Any:
        program = self._programs.get(tuple(images.shape[1:]))
        if self.training or program is None:
            return self.network(images)
        outputs = [paddle.to_tensor(output) for output in program(images)]
        return outputs if len(outputs) > 1 else outputs[0]


class _NetworkToExport(paddle.nn.Layer):
    """The network under a class of its own, for `paddle.jit.save` leaves traces in what it saves."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)


def _export_and_check(network: Classifier, images: paddle.Tensor) -> InferenceProgram:
    """The network as a program, compared with it on the first few of `images`.

    Raises:
        TrainingError: they differ, or there is no room for the program in the folder of temporary files.
    """
    try:
        running = _export(network, images)
    except OSError as error:
        raise TrainingError(
            f"cannot write the network's inference program ({describe_os_error(error)}): free some space, or set TMPDIR"
        ) from error
    some = images[:MORE_IMAGES].numpy()
    expected = output_function(network)(some[:2])
    require_finite(expected)
    difference = max_errors(running(some[:2]), expected, relative=True).max()
    if not (difference <= RELATIVE_TOLERANCE or is_rounding(network, running, some, RELATIVE_TOLERANCE, relative=True)):
        raise TrainingError(
            f"the exported network differs from the network by {difference:.2g} of its largest score (at most"
            f" {RELATIVE_TOLERANCE:g} is allowed): please report the architecture and the version of PaddlePaddle"
        )
    return running


def _export(network: Classifier, images: paddle.Tensor) -> InferenceProgram:
    with tempfile.TemporaryDirectory(prefix="ppzoo-") as place:
        spec = paddle.static.InputSpec([None, *images.shape[1:]], "float32", "image")
        plain = _NetworkToExport(network)
        plain.eval()
        paddle.jit.save(plain, str(Path(place) / PROGRAM), input_spec=[spec])
        # PaddlePaddle does not report that its files are cut off by a full disk; the next file does.
        write_atomically(Path(place) / "space", lambda file: file.write(bytes(PROBE_SIZE)))
        program = next(Path(place) / name for name in PROGRAM_FILES if (Path(place) / name).is_file())
        return InferenceProgram(program, Path(place) / PARAMETERS)
