"""An exported program, loaded and run by Paddle Inference, which folds batch norm and computes with oneDNN on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from ppzoo.deploy.batch import Batch
from ppzoo.deploy.export_dir import PARAMETERS, ExportedModel
from ppzoo.errors import DataError, PpzooError
from ppzoo.host import usable_cores


class InferenceProgram:
    """A program in Paddle Inference: images in, all outputs out.

    Raises:
        RuntimeError, ValueError, OSError, IndexError: its files are damaged.
    """

    def __init__(self, program: Path, parameters: Path) -> None:
        self._predictor = paddle.inference.create_predictor(_inference_config(program, parameters))
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._outputs = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]

    def __call__(self, images: np.ndarray | paddle.Tensor) -> list[np.ndarray]:
        """
        Raises:
            RuntimeError, ValueError: images of a shape that the program cannot take.
        """
        if isinstance(images, np.ndarray):
            self._input.copy_from_cpu(np.ascontiguousarray(images, np.float32))
        else:
            self._input.share_external_data(images)
        self._predictor.run()
        return [output.copy_to_cpu() for output in self._outputs]


class PaddleEngine:
    """The program of an export in Paddle Inference: images in, probabilities out.

    Raises:
        PpzooError: its files are damaged.
    """

    name = "paddle"
    takes_pixels = False

    def __init__(self, exported: ExportedModel) -> None:
        try:
            self._program = InferenceProgram(exported.program, exported.parameters)
        except (RuntimeError, ValueError, OSError, IndexError) as error:
            raise PpzooError(
                f"{exported.folder}: {exported.program.name} or {PARAMETERS} is damaged, or of another version of"
                " PaddlePaddle: export the network anew"
            ) from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, N x class_num, of preprocessed images, N x C x H x W float32.

        Raises:
            DataError: images of a shape that the program cannot take.
        """
        try:
            return self._program(images)[0]
        except (RuntimeError, ValueError) as error:
            raise shape_error(images.shape) from error

    def batch(self, shape: tuple[int, ...]) -> Batch:
        return Batch(np.empty(shape, np.float32), self)


def shape_error(shape: tuple[int, ...]) -> DataError:
    """The error about images of a shape that a program cannot take."""
    received = " x ".join(map(str, shape))
    return DataError(
        f"expected images of the shape that was exported (N x C x H x W), got {received} after preprocessing:"
        " export with ResizeImage with size, or CropImage, in Infer.transforms"
    )


def _inference_config(program: Path, parameters: Path) -> paddle.inference.Config:
    """How Paddle Inference runs on the device in use."""
    config = paddle.inference.Config(str(program), str(parameters))
    config.disable_glog_info()
    device = paddle.get_device()
    if device.startswith("gpu"):
        memory_mib = 256  # to begin with; it grows
        config.enable_use_gpu(memory_mib, int(device.partition(":")[2] or 0))
    else:
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(usable_cores())
    return config
