"""An exported program, loaded and run by Paddle Inference, which folds batch norm and computes with oneDNN on a CPU."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from ppzoo.errors import DataError, PpzooError

PROGRAM = "inference"
SETTINGS = "inference.yml"
DIGESTS = "SHA256"  # in the settings: of each other file, by name; PaddlePaddle reads a file that was cut off as NaN


class Program:
    """The program of an export folder: images in, probabilities out.

    Args:
        folder: what `export` wrote.

    Raises:
        PpzooError: the folder is not an export, or one of its files is damaged.
    """

    def __init__(self, folder: Path) -> None:
        names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        program = next((name for name in (f"{PROGRAM}.json", f"{PROGRAM}.pdmodel") if name in names), None)
        if program is None or not {f"{PROGRAM}.pdiparams", SETTINGS} <= names:
            raise PpzooError(
                f"{folder}: expected a folder with {PROGRAM}.json (or .pdmodel), {PROGRAM}.pdiparams and {SETTINGS},"
                f" received {sorted(names) or 'nothing'}; tools/export_model.py makes one"
            )
        self.settings = _read_settings(folder / SETTINGS)
        _require_unchanged(folder, self.settings.get(DIGESTS))
        try:
            self._predictor = paddle.inference.create_predictor(
                _inference_config(folder / program, folder / f"{PROGRAM}.pdiparams")
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise PpzooError(
                f"{folder}: {program} or {PROGRAM}.pdiparams is damaged, or of another version of PaddlePaddle: export"
                " the network anew"
            ) from error
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, N x class_num, of preprocessed images, N x C x H x W float32.

        Raises:
            DataError: images of a shape that the program cannot take.
        """
        self._input.copy_from_cpu(np.ascontiguousarray(images, np.float32))
        try:
            self._predictor.run()
        except (RuntimeError, ValueError) as error:
            received = " x ".join(map(str, images.shape))
            raise DataError(
                f"expected images of the shape that was exported (N x C x H x W), received {received}"
            ) from error
        return self._output.copy_to_cpu()


def _read_settings(path: Path) -> dict[str, Any]:
    """The content of an `inference.yml`, with preprocessing and label names where they belong."""
    try:
        settings = yaml.safe_load(path.read_bytes())
        steps, names = settings["PreProcess"]["transform_ops"], settings["PostProcess"]["Topk"]["label_list"]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise PpzooError(f"{path}: expected YAML, received a damaged file ({reason}): export anew") from error
    except (KeyError, TypeError) as error:
        raise PpzooError(
            f"{path}: expected PreProcess.transform_ops and PostProcess.Topk.label_list, of which one is missing"
        ) from error
    if not isinstance(names, list):
        raise PpzooError(f"{path}: PostProcess.Topk.label_list: expected a list of names, received {names!r}")
    if not isinstance(steps, list) or not all(isinstance(step, dict) and len(step) == 1 for step in steps):
        raise PpzooError(f"{path}: PreProcess.transform_ops: expected a list of `Name: options`, received {steps!r}")
    return settings


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _require_unchanged(folder: Path, digests: Any) -> None:
    """Compare the files with what the settings say of them; PaddleClas's say nothing."""
    if not isinstance(digests, dict):
        return
    for name, expected in digests.items():
        path = folder / Path(str(name)).name
        if not path.is_file() or digest(path) != expected:
            raise PpzooError(f"{path} is damaged: it is not the file that was exported; export the network anew")


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
