"""Run an exported program in Paddle Inference, which folds batch normalization and uses oneDNN on a CPU."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import numpy as np
import paddle

from ppzoo.deploy.batch import Batch
from ppzoo.deploy.export_dir import PADDLE, ExportedModel
from ppzoo.errors import ConfigError, DataError, PpzooError
from ppzoo.host import usable_cores
from ppzoo.weights.export_archives import PARAMETERS

logger = logging.getLogger("ppzoo")

INITIAL_GPU_MEMORY = 256  # MiB; Paddle Inference allocates more when it needs it
# PaddlePaddle 3.3 cannot run some operators, such as an interpolation, with oneDNN, and fails with this at the first
# run (https://github.com/PaddlePaddle/Paddle/issues/77340).
ONEDNN_FAULT = "ConvertPirAttribute2RuntimeAttribute not support"


class InferenceProgram:
    """A program in Paddle Inference that maps a batch of images to all outputs.

    Its files must exist until its first run: if PaddlePaddle cannot run it with oneDNN, they are loaded again without
    oneDNN.

    Raises:
        RuntimeError, ValueError, OSError, IndexError: its files are damaged.
    """

    def __init__(self, program: Path, parameters: Path) -> None:
        self._files = program, parameters
        self._has_onednn = paddle.get_device().startswith("cpu")
        try:
            self._load()
        except RuntimeError as error:
            self._disable_onednn_after(error)

    def __call__(self, images: np.ndarray | paddle.Tensor) -> list[np.ndarray]:
        """Run the program.

        Raises:
            RuntimeError, ValueError: the program cannot take images of this shape.
        """
        try:
            return self._run(images)
        except RuntimeError as error:
            self._disable_onednn_after(error)
        return self._run(images)

    def _load(self) -> None:
        config = _inference_config(*self._files, onednn=self._has_onednn)
        self._predictor = paddle.inference.create_predictor(config)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._outputs = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]

    def _run(self, images: np.ndarray | paddle.Tensor) -> list[np.ndarray]:
        if isinstance(images, np.ndarray):
            self._input.copy_from_cpu(np.ascontiguousarray(images, np.float32))
        else:
            self._input.share_external_data(images)
        self._predictor.run()
        return [output.copy_to_cpu() for output in self._outputs]

    def _disable_onednn_after(self, error: RuntimeError) -> None:
        """Load the program again without oneDNN if `error` contains `ONEDNN_FAULT`; raise any other error again."""
        if not (self._has_onednn and ONEDNN_FAULT in str(error)):
            raise error
        log_disabled_onednn(self._files[0])
        self._has_onednn = False
        self._load()


class PaddleEngine:
    """The program of an export in Paddle Inference: images in, probabilities out.

    Raises:
        ConfigError: the export does not have that format.
        PpzooError: its files are damaged.
    """

    name = "paddle"
    takes_pixels = False

    def __init__(self, exported: ExportedModel) -> None:
        if PADDLE not in exported.formats:
            raise ConfigError(
                f"{exported.folder}: expected an export in the format paddle, got {', '.join(exported.formats)};"
                " export the network again with `--format paddle`"
            )
        try:
            self._program = InferenceProgram(exported.program, exported.parameters)
        except (RuntimeError, ValueError, OSError, IndexError) as error:
            raise PpzooError(
                f"{exported.folder}: cannot load {exported.program.name} and {PARAMETERS}: one is damaged, or written"
                " by another version of PaddlePaddle; export the network again"
            ) from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return N x class_num probabilities of preprocessed images, N x C x H x W float32.

        Raises:
            DataError: the program cannot take images of this shape.
        """
        return self._outputs(images)[0]

    def batch(self, shape: tuple[int, ...]) -> Batch:
        return Batch(np.empty(shape, np.float32), self._outputs)

    def _outputs(self, images: np.ndarray) -> list[np.ndarray]:
        try:
            return self._program(images)
        except (RuntimeError, ValueError) as error:
            raise shape_error(images.shape) from error


def shape_error(shape: tuple[int, ...]) -> DataError:
    """Return the error for images of a shape that the program cannot take."""
    received = " x ".join(map(str, shape))
    return DataError(
        f"expected images of the exported shape (N x C x H x W), got {received} after preprocessing;"
        " add CropImage, or ResizeImage with size, to Infer.transforms, and export the network again"
    )


def _inference_config(program: Path, parameters: Path, *, onednn: bool) -> paddle.inference.Config:
    """Configure Paddle Inference for the current device."""
    config = paddle.inference.Config(str(program), str(parameters))
    config.disable_glog_info()
    device = paddle.get_device()
    if device.startswith("gpu"):
        config.enable_use_gpu(INITIAL_GPU_MEMORY, int(device.partition(":")[2] or 0))
        return config
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(usable_cores())
    (config.enable_mkldnn if onednn else config.disable_mkldnn)()  # its default depends on the version
    return config


@cache
def log_disabled_onednn(program: Path) -> None:
    """Log that a program runs without oneDNN, once per program, also if several engines open it."""
    logger.info("running %s without oneDNN: PaddlePaddle %s cannot run it with oneDNN", program, paddle.__version__)
