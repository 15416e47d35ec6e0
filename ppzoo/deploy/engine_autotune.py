"""Choose the fastest inference engine for an export on this machine: measured once, then cached.

The result is cached in `$PPZOO_HOME/engines/KEY.json`. The key is a hash of everything that the choice depends on: the
export, the processor, the number of cores, the versions of the engines, the batch size, the precision, and whether the
engine can normalize.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import paddle

from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.engines import (
    ENGINE_NAMES,
    Engine,
    is_installed,
    open_engine,
    open_onnx_engine,
    package_versions,
    require_precision,
    runnable_engines,
)
from ppzoo.deploy.export_dir import ExportedModel
from ppzoo.deploy.onnx_engines import OnnxEngine
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.errors import PpzooError
from ppzoo.files import make_folder, write_text
from ppzoo.host import cache_home, processor_name, usable_cores

logger = logging.getLogger("ppzoo")

ROUNDS = 2
MIN_SECONDS, MIN_RUNS = 0.3, 2  # of each engine in each round
PAUSE = 0.3  # seconds between engines; idle OpenMP threads keep spinning for 0.2 seconds


def fastest_engine(
    exported: ExportedModel,
    batch_size: int,
    normalization: Normalization | None = None,
    *,
    precision: str = "float32",
) -> Engine:
    """Open the fastest installed engine for batches of `batch_size` images; on a GPU that is Paddle Inference.

    Args:
        normalization, precision: see `open_engine`.

    Raises:
        ConfigError: no installed engine can run the export in that precision.
        PpzooError: the export is damaged.
    """
    require_precision(precision, exported)
    names = runnable_engines(exported, precision)
    if PaddleEngine.name in names and not paddle.get_device().startswith("cpu"):
        return open_engine(PaddleEngine.name, exported, batch_size)
    settings = exported, batch_size, normalization
    candidates = [name for name in names if name != PaddleEngine.name and is_installed(name)]
    if not candidates or len(names) == 1:
        return open_engine(names[0], *settings, precision=precision)
    file = cache_home() / "engines" / f"{_cache_key(candidates, *settings, precision)}.json"
    cached = _read_choice(file)
    if cached is not None:
        logger.info("using engine %s, from the cached measurement %s", cached, file)
        return open_engine(cached, *settings, precision=precision)
    opened = _open_all(candidates, *settings, precision)
    if not opened:
        return open_engine(names[0], *settings, precision=precision)
    engines: dict[str, Engine] = {**opened}
    if PaddleEngine.name in names:
        engines = {PaddleEngine.name: open_engine(PaddleEngine.name, exported, batch_size), **opened}
    seconds = measure(engines, (batch_size, *next(iter(opened.values())).chw))
    fastest = min(engines, key=lambda name: seconds[name])
    measured = ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in seconds.items())
    logger.info("using engine %s: %s for %d images; cached in %s", fastest, measured, batch_size, file)
    content = {"engine": fastest, "seconds": seconds, "batch size": batch_size, "processor": processor_name()}
    _write_choice(file, content)
    return engines[fastest]


def _cache_key(
    candidates: list[str],
    exported: ExportedModel,
    batch_size: int,
    normalization: Normalization | None,
    precision: str,
) -> str:
    packages = {package: version for name in candidates for package, version in package_versions(name).items()}
    parts = [exported.identity, processor_name(), usable_cores(), paddle.__version__, packages, batch_size]
    parts += [normalization is not None, precision]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _open_all(
    candidates: list[str],
    exported: ExportedModel,
    batch_size: int,
    normalization: Normalization | None,
    precision: str,
) -> dict[str, OnnxEngine]:
    """Open the engines that can run the export; log a warning with the reason for each that cannot."""
    engines = {}
    for name in candidates:
        try:
            engines[name] = open_onnx_engine(name, exported, batch_size, normalization, precision=precision)
        except PpzooError as error:
            logger.warning("skipping engine %s: %s", name, error)
    return engines


def measure(engines: Mapping[str, Engine], shape: tuple[int, ...]) -> dict[str, float]:
    """Return the shortest time in seconds that each engine takes for a batch of N x C x H x W.

    The minimum is the least affected by other load on the machine. Each engine runs several times in a row, because
    the idle threads of the previous engine can keep spinning for a while.
    """
    count, channels, height, width = shape
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            time.sleep(PAUSE)
            finish = time.perf_counter() + MIN_SECONDS
            for number in itertools.count():
                input_shape = (count, height, width, channels) if engine.takes_pixels else shape
                images = random.integers(0, 256, input_shape).astype(np.uint8 if engine.takes_pixels else np.float32)
                started = time.perf_counter()
                if started > finish and number >= MIN_RUNS:
                    break
                engine(images)
                seconds[name].append(time.perf_counter() - started)
    return {name: min(values) for name, values in seconds.items()}


def _read_choice(file: Path) -> str | None:
    """Return the cached engine name; None if the file is missing or invalid."""
    try:
        name = json.loads(file.read_text(encoding="utf-8"))["engine"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if name in ENGINE_NAMES else None


def _write_choice(file: Path, content: Mapping[str, object]) -> None:
    try:
        make_folder(file.parent)
        write_text(file, json.dumps(content, indent=1))
    except OSError as error:
        logger.warning(
            "cannot write %s: %s; set PPZOO_HOME to a writable folder to cache this measurement", file, error.strerror
        )
