"""An exported program, loaded and run by Paddle Inference, which folds batch norm and computes with oneDNN on a CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from ppzoo.errors import PpzooError

PROGRAM = "inference"
SETTINGS = "inference.yml"


class Program:
    """The program of an export folder: images in, probabilities out.

    Args:
        folder: what `export` wrote.

    Raises:
        PpzooError: the folder is not an export.
    """

    def __init__(self, folder: Path) -> None:
        names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        program = next((name for name in (f"{PROGRAM}.json", f"{PROGRAM}.pdmodel") if name in names), None)
        if program is None or not {f"{PROGRAM}.pdiparams", SETTINGS} <= names:
            raise PpzooError(
                f"{folder}: expected a folder with {PROGRAM}.json (or .pdmodel), {PROGRAM}.pdiparams and {SETTINGS},"
                f" received {sorted(names) or 'nothing'}; tools/export_model.py makes one"
            )
        self.settings: dict[str, Any] = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
        self._predictor = paddle.inference.create_predictor(
            _inference_config(folder / program, folder / f"{PROGRAM}.pdiparams")
        )
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, N x class_num, of preprocessed images, N x C x H x W float32."""
        self._input.copy_from_cpu(np.ascontiguousarray(images, np.float32))
        self._predictor.run()
        return self._output.copy_to_cpu()


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
        config.set_cpu_math_library_num_threads(len(os.sched_getaffinity(0)))
    return config


def run(layer: paddle.nn.Layer, images: np.ndarray) -> np.ndarray:
    """What a layer in evaluation mode answers to an array, without gradients."""
    with paddle.no_grad():
        return layer(paddle.to_tensor(images)).numpy()
