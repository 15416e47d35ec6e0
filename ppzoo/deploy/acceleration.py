"""A network that is only asked, not trained, at the speed of its export: two to three times the network's own."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import paddle

from ppzoo.deploy.folder import PARAMETERS, PROGRAM, PROGRAM_FILES
from ppzoo.deploy.program import InferenceProgram
from ppzoo.errors import TrainingError, describe_failure
from ppzoo.files import write_atomically
from ppzoo.layers import Classifier

PATIENCE = 256  # images; exporting takes about as long as the network does with these
TOLERANCE = 1e-4
SPACE = 1 << 16


def accelerated(network: paddle.nn.Layer) -> Any:
    """`network`, which must not be trained meanwhile, in a form that answers the same to 1e-4 and sooner.

    On a GPU, and for other layers than classifiers, it is `network` itself.
    """
    if not (isinstance(network, Classifier) and paddle.get_device().startswith("cpu")):
        return network
    return _Accelerated(network)


class _Accelerated(paddle.nn.Layer):
    """Asks the network about the first `PATIENCE` images of a shape, then its export, run by Paddle Inference.

    Raises:
        TrainingError: network and export differ.
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._programs: dict[tuple[int, ...], InferenceProgram] = {}

    def forward(self, images: paddle.Tensor) -> Any:
        shape = tuple(images.shape[1:])
        self._seen[shape] += images.shape[0]
        if self.training or self._seen[shape] <= PATIENCE:
            return self.network(images)
        if shape not in self._programs:
            self._programs[shape] = _checked(self.network, images)
        outputs = [paddle.to_tensor(output) for output in self._programs[shape](images)]
        return outputs if len(outputs) > 1 else outputs[0]


class _Plain(paddle.nn.Layer):
    """The network under a class of its own, for `paddle.jit.save` leaves traces in what it saves."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)


def _checked(network: Classifier, images: paddle.Tensor) -> InferenceProgram:
    """The network as a program, compared with it on the first two of `images`.

    Raises:
        TrainingError: they differ, or there is no room for the program in the folder of temporary files.
    """
    try:
        running = _exported(network, images)
    except OSError as error:
        raise TrainingError(
            f"cannot write the network's inference program ({describe_failure(error)}): free some space, or set TMPDIR"
        ) from error
    few = images[:2]
    expected = network(few)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    for output, wanted in zip(running(few), expected, strict=True):
        scores = wanted.numpy()
        difference = abs(output - scores).max() / max(abs(scores).max(), 1e-30)
        if not difference <= TOLERANCE:
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
