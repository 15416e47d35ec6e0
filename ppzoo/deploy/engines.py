"""What runs an exported program: Paddle Inference, and on a CPU ONNX Runtime or OpenVINO, which are often faster."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import Protocol

import numpy as np

from ppzoo.deploy.folder import Exported
from ppzoo.deploy.onnx_model import INPUT, onnx_model
from ppzoo.deploy.program import Program, misfit
from ppzoo.errors import ConfigError, PpzooError
from ppzoo.machine import usable_cores

TOLERANCE = 1e-4


class Engine(Protocol):
    """An exported program that is ready: probabilities, N x class_num, of images, N x C x H x W float32.

    Raises:
        DataError: images of a shape that the program cannot take.
    """

    name: str

    def __call__(self, images: np.ndarray) -> np.ndarray: ...


class OnnxEngine:
    """What the engines that read ONNX share.

    Args:
        model: a serialised ONNX model.
        image_shape: C x H x W of its images.
    """

    name = ""

    def __init__(self, model: bytes, image_shape: list[int]) -> None:
        self.image_shape = image_shape

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if list(images.shape[1:]) != self.image_shape:
            raise misfit(images)
        return self._run(np.ascontiguousarray(images, np.float32))

    def _run(self, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class OnnxRuntime(OnnxEngine):
    """An export in ONNX Runtime, on all usable cores."""

    name = "onnxruntime"

    def __init__(self, model: bytes, image_shape: list[int]) -> None:
        import onnxruntime

        super().__init__(model, image_shape)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _run(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(None, {INPUT: images})[0]


class OpenVino(OnnxEngine):
    """An export in OpenVINO, on all usable cores; in float32, where OpenVINO by itself might compute in bfloat16."""

    name = "openvino"

    def __init__(self, model: bytes, image_shape: list[int]) -> None:
        import openvino

        super().__init__(model, image_shape)
        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": usable_cores(),
        }
        self._request = core.compile_model(core.read_model(model), "CPU", options).create_infer_request()

    def _run(self, images: np.ndarray) -> np.ndarray:
        return self._request.infer([images], share_inputs=True, share_outputs=True)[0].copy()


OTHERS: dict[str, type[OnnxEngine]] = {engine.name: engine for engine in (OnnxRuntime, OpenVino)}
NAMES = (Program.name, *OTHERS)


def installed(name: str) -> bool:
    """Whether all packages of an engine are."""
    return all(importlib.util.find_spec(package) for package in _packages(name))


def versions(name: str) -> dict[str, str]:
    """The versions of an engine's packages, which must be installed."""
    return {package: version(package) for package in _packages(name)}


def open_engine(name: str, exported: Exported) -> Engine:
    """The engine `name` with an export.

    Raises:
        ConfigError: no such engine, it is not installed, or it cannot run this export.
        PpzooError: it answers something else than the export's own program; or the export is damaged.
    """
    if name not in NAMES:
        raise ConfigError(f"engine: expected auto, {', '.join(NAMES)}, received {name!r}")
    return Program(exported) if name == Program.name else open_onnx_engine(name, exported)


def open_onnx_engine(name: str, exported: Exported) -> OnnxEngine:
    """`open_engine` for one of `OTHERS`."""
    if not installed(name):
        raise ConfigError(
            f"engine: expected {name} to be installed: run `pip install 'ppzoo[{name}]'`"
            f" (in a clone: `pip install -e '.[{name}]'`)"
        )
    model, image_shape = onnx_model(exported)
    if min(image_shape) < 1:
        raise ConfigError(
            f"engine: expected an export of one image size for {name}, received {image_shape}: use engine='paddle'"
        )
    engine = OTHERS[name](model, image_shape)
    _require_agreement(engine, Program(exported), image_shape)
    return engine


def _packages(name: str) -> list[str]:
    return ["onnx", name] if name in OTHERS else []


def _require_agreement(engine: Engine, program: Program, image_shape: list[int]) -> None:
    """Compare on a batch of two random images."""
    images = np.random.default_rng(0).standard_normal((2, *image_shape), dtype=np.float32)
    difference = float(np.abs(engine(images) - program(images)).max())
    if not difference <= TOLERANCE:
        raise PpzooError(
            f"engine: {engine.name} differs from the network by {difference:.2g} (at most {TOLERANCE:g} is allowed):"
            " use engine='paddle', and please report the architecture and the versions"
        )
