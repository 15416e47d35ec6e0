"""Evaluate a network through its export, which is two to three times as fast as the network itself on a CPU.

Which images go through the export is decided before the first batch, by the number and the shape of the images alone.
The output for an image therefore depends neither on its position nor on the number of processes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import paddle

from ppzoo.deploy.formats import write_program
from ppzoo.deploy.paddle_engine import InferenceProgram
from ppzoo.deploy.rounding import is_rounding, max_errors, output_function
from ppzoo.errors import TrainingError, describe_os_error
from ppzoo.files import write_atomically
from ppzoo.finite import require_finite
from ppzoo.layers import Classifier
from ppzoo.layers.classifier import HeadInput
from ppzoo.weights.export_archives import PARAMETERS

MIN_IMAGES = 512  # exporting takes about as long as running the network on half of these
RELATIVE_TOLERANCE = 1e-4  # max. difference of a score, relative to the largest score
MORE_IMAGES = 8  # number of images that are compared if the first two exceed the tolerance
PROBE_SIZE = 1 << 16  # bytes of a file that is written to find out whether the disk is full


def accelerate_eval(network: paddle.nn.Layer) -> Any:
    """Wrap `network` so that `export_if_worthwhile` can speed up its evaluation.

    Scores agree within 1e-4 of the largest score, or, if float32 itself is less exact, up to rounding (`is_rounding`).
    On a GPU, and for layers other than classifiers, `network` itself is returned. Its weights must not change while
    the wrapper is in use.
    """
    if not (isinstance(network, Classifier) and paddle.get_device().startswith("cpu")):
        return network
    return _AcceleratedNetwork(network)


def original_network(network: paddle.nn.Layer) -> paddle.nn.Layer:
    """Return the original network if `network` is a wrapper that `accelerate_eval` returned, else `network` itself."""
    return network.network if isinstance(network, _AcceleratedNetwork) else network


def receive_features(network: paddle.nn.Layer) -> HeadInput:
    """Return a `HeadInput` that receives the features of each batch, whether `network` or its export computes them.

    Args:
        network: a network, or what `accelerate_eval` returned for it; not exported yet.
    """
    head_input = HeadInput(original_network(network))
    if isinstance(network, _AcceleratedNetwork):
        network.head_input = head_input
    return head_input


def export_if_worthwhile(network: paddle.nn.Layer, image_count: int, images: paddle.Tensor) -> None:
    """Export the networks wrapped by `accelerate_eval` in `network` if `image_count` images justify the time.

    Args:
        images: some of the images; images of another shape will go through the network itself.

    Raises:
        TrainingError: the outputs of network and export differ or are not finite, or the directory for temporary files
            cannot be written.
    """
    if image_count < MIN_IMAGES:
        return
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, _AcceleratedNetwork):
            with paddle.no_grad():
                layer.export(images)


class _AcceleratedNetwork(paddle.nn.Layer):
    """Runs the export for image shapes that have one, else the network.

    Attributes:
        image_channels: channels of the images.
        head_input: receives the features if that is requested before the export.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network, self.image_channels = network, network.image_channels
        self.head_input: HeadInput | None = None
        self._programs: dict[tuple[int, ...], InferenceProgram] = {}

    def export(self, images: paddle.Tensor) -> None:
        shape = tuple(images.shape[1:])
        if shape not in self._programs:
            self._programs[shape] = _export(_NetworkToExport(self.network, self.head_input), images)

    def forward(self, images: paddle.Tensor) -> Any:
        program = self._programs.get(tuple(images.shape[1:]))
        if self.training or program is None:
            return self.network(images)
        outputs = [paddle.to_tensor(output) for output in program(images)]
        if self.head_input is not None:
            self.head_input.store(outputs.pop())
        return outputs if len(outputs) > 1 else outputs[0]


class _NetworkToExport(paddle.nn.Layer):
    """Returns all outputs of a network and then, if requested, its features."""

    def __init__(self, network: Classifier, head_input: HeadInput | None) -> None:
        super().__init__()
        self.network, self.head_input = network, head_input
        self.eval()

    def forward(self, images: paddle.Tensor) -> Any:
        outputs = self.network(images)
        if self.head_input is None:
            return outputs
        several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [*several, self.head_input.take()]


def _export(network: _NetworkToExport, images: paddle.Tensor) -> InferenceProgram:
    """Export the network and compare the export with it on some of `images`.

    Raises:
        TrainingError: their outputs differ or are not finite, or the directory for temporary files cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ppzoo-") as directory:
            program = _write_program(network, Path(directory), images.shape[1:])
            _check_outputs(network, program, images)  # the first run still needs the files
            return program
    except OSError as error:
        raise TrainingError(
            f"cannot write the network's inference program: {describe_os_error(error)}; free some space, or set TMPDIR"
        ) from error


def _write_program(network: _NetworkToExport, directory: Path, image_shape: list[int]) -> InferenceProgram:
    wrapper = _NetworkToExport(network.network, network.head_input)  # `paddle.jit.save` modifies it
    program = write_program(wrapper, image_shape, directory)
    # PaddlePaddle does not report that a full disk truncated its files; writing this file does.
    write_atomically(directory / "probe", lambda file: file.write(bytes(PROBE_SIZE)))
    return InferenceProgram(program, directory / PARAMETERS)


def _check_outputs(network: _NetworkToExport, program: InferenceProgram, images: paddle.Tensor) -> None:
    few = images[:MORE_IMAGES].numpy()
    expected = output_function(network)(few[:2])
    require_finite(expected)
    difference = max_errors(program(few[:2]), expected, relative=True).max()
    if not (difference <= RELATIVE_TOLERANCE or is_rounding(network, program, few, RELATIVE_TOLERANCE, relative=True)):
        raise TrainingError(
            f"the inference program for the evaluation differs from the network by {difference:.2g} of the largest"
            f" score (tolerance {RELATIVE_TOLERANCE:g}): please report the architecture and the version of PaddlePaddle"
        )
