"""The engines that run an exported program: Paddle Inference, and on a CPU ONNX Runtime and OpenVINO."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import Protocol

import numpy as np

from ppzoo.deploy.batch import Batch, Normalization
from ppzoo.deploy.export_dir import ExportedModel
from ppzoo.deploy.onnx_engines import OnnxEngine, OnnxRuntime, OpenVino
from ppzoo.deploy.onnx_model import onnx_model
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.errors import ConfigError, PpzooError
from ppzoo.finite import require_finite

ENGINE_TOLERANCE = 1e-4  # max. absolute difference of probabilities between an engine and Paddle Inference


class Engine(Protocol):
    """An exported program, loaded and ready to run; not thread-safe.

    Attributes:
        takes_pixels: whether the input is N x H x W x C uint8, which the engine normalizes; else N x C x H x W float32.
    """

    name: str
    takes_pixels: bool

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return N x class_num probabilities.

        Raises:
            DataError: the program cannot take images of this shape.
        """

    def batch(self, shape: tuple[int, ...]) -> Batch:
        """Return an input buffer of that shape; it is valid until the next call.

        Raises:
            DataError: the program cannot take images of this shape.
        """


ONNX_ENGINES: dict[str, type[OnnxEngine]] = {engine.name: engine for engine in (OnnxRuntime, OpenVino)}
ENGINE_NAMES = (PaddleEngine.name, *ONNX_ENGINES)


def is_installed(name: str) -> bool:
    """Return whether all packages that an engine needs are installed."""
    return all(importlib.util.find_spec(package) for package in _packages_of(name))


def package_versions(name: str) -> dict[str, str]:
    """Return the versions of the packages of an installed engine."""
    return {package: version(package) for package in _packages_of(name)}


def open_engine(
    name: str, exported: ExportedModel, batch_size: int, normalization: Normalization | None = None
) -> Engine:
    """Load an export into the engine `name`.

    Args:
        batch_size: the usual batch size, for which the engine is optimized; other sizes work, too.
        normalization: moved into the engine if that makes it faster; its input is then uint8 pixels.

    Raises:
        ConfigError: the engine is unknown, not installed, or cannot run this export.
        PpzooError: the engine's outputs differ from Paddle Inference's, or the export is damaged.
    """
    if name not in ENGINE_NAMES:
        raise ConfigError(f"engine: expected auto, {', '.join(ENGINE_NAMES)}, got {name!r}")
    if name == PaddleEngine.name:
        return PaddleEngine(exported)
    return open_onnx_engine(name, exported, batch_size, normalization)


def open_onnx_engine(
    name: str, exported: ExportedModel, batch_size: int, normalization: Normalization | None = None
) -> OnnxEngine:
    """`open_engine` for one of `ONNX_ENGINES`."""
    if not is_installed(name):
        raise ConfigError(
            f"engine: {name} is not installed: run `pip install 'ppzoo[{name}]'`"
            f" (in a clone: `pip install -e '.[{name}]'`)"
        )
    normalization = normalization if ONNX_ENGINES[name].prefers_pixels else None
    model, chw = onnx_model(exported, normalization)
    engine = ONNX_ENGINES[name](model, chw, takes_pixels=normalization is not None, batch_size=batch_size)
    _check_outputs(engine, PaddleEngine(exported), normalization)
    return engine


def _packages_of(name: str) -> list[str]:
    return ["onnx", name] if name in ONNX_ENGINES else []


def _check_outputs(engine: OnnxEngine, reference: PaddleEngine, normalization: Normalization | None) -> None:
    """Compare an engine with Paddle Inference on random images, with batches of one and of two."""
    random = np.random.default_rng(0)
    for count in (1, 2):
        shape = (count, *engine.image_shape)
        images: np.ndarray = random.standard_normal(shape, dtype=np.float32)
        normalized = images
        if normalization is not None:
            images = random.integers(0, 256, shape, dtype=np.uint8)
            normalized = normalization(images)
        expected = reference(normalized)
        require_finite(expected, "a random image".format)
        difference = float(np.abs(engine(images) - expected).max())
        if not difference <= ENGINE_TOLERANCE:
            raise PpzooError(
                f"engine: {engine.name} differs from the network by {difference:.2g} (tolerance {ENGINE_TOLERANCE:g});"
                " use engine='paddle', and please report the architecture and the versions"
            )
