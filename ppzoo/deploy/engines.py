"""The engines that run an exported program: Paddle Inference, and on a CPU ONNX Runtime and OpenVINO."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Protocol

import numpy as np

from ppzoo.deploy.batch import Batch, Normalization
from ppzoo.deploy.export_dir import ONNX, OPENVINO, ExportedModel
from ppzoo.deploy.onnx_engines import OnnxEngine, OnnxRuntime, OpenVino, supports_bfloat16
from ppzoo.deploy.onnx_graph import NotConvertibleError
from ppzoo.deploy.onnx_model import is_pir_program, onnx_model
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.errors import ConfigError, DataError, PpzooError
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
        """Return an input buffer of that shape; it is valid until the next call of `batch` or of the engine.

        Raises:
            DataError: the program cannot take images of this shape.
        """


ONNX_ENGINES: dict[str, type[OnnxEngine]] = {engine.name: engine for engine in (OnnxRuntime, OpenVino)}
ENGINE_NAMES = (PaddleEngine.name, *ONNX_ENGINES)
PRECISIONS = ("float32", "bfloat16", "int8")
# The engines that can run the model files of a format.
RUNNABLE_ENGINES = {ONNX: tuple(ONNX_ENGINES), OPENVINO: (OpenVino.name,)}


def is_installed(name: str) -> bool:
    """Return whether all packages that an engine needs are installed."""
    return all(importlib.util.find_spec(package) for package in _packages_of(name))


def package_versions(name: str) -> dict[str, str]:
    """Return the versions of the packages of an installed engine."""
    return {package: version(package) for package in _packages_of(name)}


def require_installed(name: str, key: str = "engine") -> None:
    """Check that an engine is installed.

    Args:
        key: the option that requires it, for the message.

    Raises:
        ConfigError: it is not.
    """
    if not is_installed(name):
        raise ConfigError(
            f"{key}: {name} is not installed: run `pip install 'ppzoo[{name}]'`"
            f" (in a clone: `pip install -e '.[{name}]'`)"
        )


def runnable_engines(exported: ExportedModel, precision: str = "float32") -> list[str]:
    """Return the names of the engines that can run an export in a precision, whether they are installed or not."""
    if precision == "bfloat16":
        return [OpenVino.name] if OpenVino.name in runnable_engines(exported) else []
    has_program = precision == "float32" and PaddleEngine.name in exported.formats
    formats = exported.formats if precision == "float32" else exported.int8_formats
    names = {engine for name in formats for engine in RUNNABLE_ENGINES.get(name, ())}
    names |= {PaddleEngine.name} if has_program else set()
    names |= set(ONNX_ENGINES) if has_program and is_pir_program(exported) else set()
    return [name for name in ENGINE_NAMES if name in names]


def open_engine(
    name: str,
    exported: ExportedModel,
    batch_size: int,
    normalization: Normalization | None = None,
    *,
    precision: str = "float32",
) -> Engine:
    """Load an export into the engine `name`.

    Args:
        batch_size: the usual batch size, for which the engine is optimized; other sizes work, too.
        normalization: moved into the engine if that makes it faster; its input is then uint8 pixels.
        precision: one of `PRECISIONS`.

    Raises:
        ConfigError: the engine is unknown, not installed, or cannot run this export in that precision.
        PpzooError: the engine's float32 outputs differ from Paddle Inference's, or the export is damaged.
    """
    if name not in ENGINE_NAMES:
        raise ConfigError(f"engine: expected one of auto, {', '.join(ENGINE_NAMES)}, got {name!r}")
    if name == PaddleEngine.name and precision == "float32":
        return PaddleEngine(exported)
    if precision != "float32":
        require_precision(precision, exported, name)
    return open_onnx_engine(name, exported, batch_size, normalization, precision=precision)


def require_precision(precision: str, exported: ExportedModel, engine: str | None = None) -> None:
    """Check that an export can run in a precision, with the engine if one is given.

    Raises:
        ConfigError: it cannot.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: expected one of auto, {', '.join(PRECISIONS)}, got {precision!r}")
    names = runnable_engines(exported, precision)
    if not names and precision == "int8":
        raise ConfigError(
            f"precision: expected an export with an int8 model, got {exported.folder} without an int8 model; export the"
            " network with `ppzoo export --format onnx --precision int8`"
        )
    if not names:
        raise ConfigError(
            f"precision: expected an export that {OpenVino.name} can run for {precision}, got one in the format"
            f" {', '.join(exported.formats)}; export the network with `--format {OPENVINO}`"
        )
    if engine is not None and engine not in names:
        raise ConfigError(f"precision: expected engine {' or '.join(names)} for {precision}, got engine {engine}")
    if precision == "bfloat16":
        require_bfloat16()


def require_bfloat16() -> None:
    """Check that OpenVINO is installed and the processor has bfloat16.

    Raises:
        ConfigError: OpenVINO is not installed, or the processor has no bfloat16.
    """
    require_installed(OpenVino.name)
    if not supports_bfloat16():
        raise ConfigError("precision: expected a processor with bfloat16, got one without; use float32 or int8")


def open_onnx_engine(
    name: str,
    exported: ExportedModel,
    batch_size: int,
    normalization: Normalization | None = None,
    *,
    precision: str = "float32",
) -> OnnxEngine:
    """Load an export into the engine `name`, one of `ONNX_ENGINES`; see `open_engine`."""
    require_installed(name)
    if precision == "int8" or not is_pir_program(exported):
        return _open_file(name, exported, batch_size, normalization, precision)
    with _as_engine_error():
        model, chw = onnx_model(exported)
    engine = ONNX_ENGINES[name](
        model, chw, takes_pixels=False, batch_size=batch_size, precision=precision, normalization=normalization
    )
    if precision == "float32":
        _check_outputs(engine, PaddleEngine(exported), normalization)
    return engine


def _open_file(
    name: str, exported: ExportedModel, batch_size: int, normalization: Normalization | None, precision: str
) -> OnnxEngine:
    """Open the ONNX or OpenVINO model of an export.

    Raises:
        ConfigError: the export has no model that the engine can run.
        PpzooError: the model is damaged.
    """
    formats = exported.int8_formats if precision == "int8" else exported.formats
    found = [kind for kind in (OPENVINO, ONNX) if kind in formats and name in RUNNABLE_ENGINES[kind]]
    if not found and PaddleEngine.name in formats:
        with _as_engine_error():
            onnx_model(exported)  # raises the reason for which the program cannot be converted
    if not found:
        raise ConfigError(
            f"engine: expected an export that {name} can run, got one in the format {', '.join(formats)}; export the"
            f" network with `--format {OPENVINO if name == OpenVino.name else ONNX}`"
        )
    return open_file_engine(name, exported, batch_size, precision, kind=found[0], normalization=normalization)


def open_file_engine(
    name: str,
    exported: ExportedModel,
    batch_size: int,
    precision: str,
    *,
    kind: str,
    normalization: Normalization | None = None,
) -> OnnxEngine:
    """Open the ONNX or OpenVINO model of an export, whatever other formats it has.

    Args:
        kind: the format, "onnx" or "openvino".
        normalization: as for `open_engine`.

    Raises:
        PpzooError: the model is damaged.
    """
    files = exported.model_files(kind, "int8" if precision == "int8" else "float32")
    content = [file.read_bytes() for file in files]
    deployment = exported.deployment
    try:
        engine = ONNX_ENGINES[name](
            content[0] if len(content) == 1 else (content[0], content[1]),
            list(deployment.image_shape),
            takes_pixels=deployment.with_preprocessing,
            batch_size=batch_size,
            precision=precision,
            normalization=normalization,
        )
        engine(np.zeros((1, *engine.image_shape), engine.dtype))
    except (RuntimeError, ValueError, TypeError, IndexError, DataError, OSError) as error:
        raise PpzooError(f"{files[0]}: {name} cannot run it; export the network again") from error
    return engine


@contextmanager
def _as_engine_error() -> Iterator[None]:
    """Turn a `NotConvertibleError` into an error that suggests Paddle Inference, which needs no ONNX model."""
    try:
        yield
    except NotConvertibleError as error:
        raise ConfigError(f"engine: {error}; use engine='{PaddleEngine.name}'") from error


def _packages_of(name: str) -> list[str]:
    return ["onnx", name] if name in ONNX_ENGINES else []


def _check_outputs(engine: OnnxEngine, reference: PaddleEngine, normalization: Normalization | None) -> None:
    """Compare an engine with Paddle Inference on random images, with batches of one and of two."""
    random = np.random.default_rng(0)
    for count in (1, 2):
        shape = (count, *engine.image_shape)
        images: np.ndarray = random.standard_normal(shape, dtype=np.float32)
        normalized = images
        if engine.takes_pixels and normalization is not None:
            images = random.integers(0, 256, shape, dtype=np.uint8)
            normalized = normalization(images)
        expected = reference(normalized)
        require_finite(expected, "a random image".format)
        difference = float(np.abs(engine(images) - expected).max())
        if not difference <= ENGINE_TOLERANCE:
            raise PpzooError(
                f"engine: {engine.name} differs from Paddle Inference by {difference:.2g} (tolerance"
                f" {ENGINE_TOLERANCE:g}); use engine='paddle', and please report the architecture and the versions of"
                f" PaddlePaddle and {engine.name}"
            )
