"""What runs an exported program: Paddle Inference, and on a CPU ONNX Runtime or OpenVINO, which are often faster."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import Protocol

import numpy as np

from ppzoo.deploy.batch import Batch
from ppzoo.deploy.export_dir import ExportedModel
from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.onnx_engines import OnnxEngine, OnnxRuntime, OpenVino
from ppzoo.deploy.onnx_model import onnx_model
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.errors import ConfigError, PpzooError
from ppzoo.finite import require_finite

ENGINE_TOLERANCE = 1e-4


class Engine(Protocol):
    """An exported program that is ready: probabilities, N x class_num, of images, for one thread at a time.

    Attributes:
        takes_pixels: whether images are N x H x W x C bytes, which it normalizes; else N x C x H x W float32.

    Raises:
        DataError: images of a shape that the program cannot take.
    """

    name: str
    takes_pixels: bool

    def __call__(self, images: np.ndarray) -> np.ndarray: ...

    def batch(self, shape: tuple[int, ...]) -> Batch:
        """A batch of images of that shape, good until the next call."""


ONNX_ENGINES: dict[str, type[OnnxEngine]] = {engine.name: engine for engine in (OnnxRuntime, OpenVino)}
ENGINE_NAMES = (PaddleEngine.name, *ONNX_ENGINES)


def is_installed(name: str) -> bool:
    """Whether all packages of an engine are."""
    return all(importlib.util.find_spec(package) for package in _packages_of(name))


def package_versions(name: str) -> dict[str, str]:
    """The versions of an engine's packages, which must be installed."""
    return {package: version(package) for package in _packages_of(name)}


def open_engine(name: str, exported: ExportedModel, batch_size: int, normalization: Normalization | None = None) -> Engine:
    """The engine `name` with an export, mostly for batches of `batch_size`.

    Args:
        normalization: what an engine may do by itself, and then takes pixels.

    Raises:
        ConfigError: no such engine, it is not installed, or it cannot run this export.
        PpzooError: it answers something else than the export's own program; or the export is damaged.
    """
    if name not in ENGINE_NAMES:
        raise ConfigError(f"engine: expected auto, {', '.join(ENGINE_NAMES)}, got {name!r}")
    if name == PaddleEngine.name:
        return PaddleEngine(exported)
    return open_onnx_engine(name, exported, batch_size, normalization)


def open_onnx_engine(
    name: str, exported: ExportedModel, batch_size: int, normalization: Normalization | None = None
) -> OnnxEngine:
    """`open_engine` for one of `OTHERS`."""
    if not is_installed(name):
        raise ConfigError(
            f"engine: expected {name} to be installed: run `pip install 'ppzoo[{name}]'`"
            f" (in a clone: `pip install -e '.[{name}]'`)"
        )
    normalization = normalization if ONNX_ENGINES[name].normalizes else None
    model, planes = onnx_model(exported, normalization)
    engine = ONNX_ENGINES[name](model, planes, takes_pixels=normalization is not None, batch_size=batch_size)
    _check_outputs(engine, PaddleEngine(exported), normalization)
    return engine


def _packages_of(name: str) -> list[str]:
    return ["onnx", name] if name in ONNX_ENGINES else []


def _check_outputs(engine: OnnxEngine, program: PaddleEngine, normalization: Normalization | None) -> None:
    """Compare on a random image alone and on a batch of two."""
    random = np.random.default_rng(0)
    for count in (1, 2):
        shape = (count, *engine.image_shape)
        images: np.ndarray = random.standard_normal(shape, dtype=np.float32)
        plain = images
        if normalization is not None:
            images = random.integers(0, 256, shape, dtype=np.uint8)
            plain = normalization(images)
        expected = program(plain)
        require_finite(expected, "a random image".format)
        difference = float(np.abs(engine(images) - expected).max())
        if not difference <= ENGINE_TOLERANCE:
            raise PpzooError(
                f"engine: {engine.name} differs from the network by {difference:.2g} (at most {ENGINE_TOLERANCE:g} is"
                " allowed): use engine='paddle', and please report the architecture and the versions"
            )
