"""Which engine is the fastest for an export on this machine: measured once, and remembered.

What was found lies in `$PPZOO_HOME/engines/KEY.json`, where the key stands for all that it depends on: the export, the
processor, the number of cores, the engines' versions and the size of a batch.
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

from ppzoo.deploy.engines import ENGINE_NAMES, ONNX_ENGINES, Engine, OnnxEngine, is_installed, open_engine, open_onnx_engine, package_versions
from ppzoo.deploy.export_dir import ExportedModel
from ppzoo.deploy.batch import Normalization
from ppzoo.deploy.onnx_model import is_pir_program
from ppzoo.deploy.paddle_engine import PaddleEngine
from ppzoo.errors import PpzooError
from ppzoo.files import make_folder, write_text
from ppzoo.host import cache_home, processor_name, usable_cores

logger = logging.getLogger("ppzoo")

ROUNDS = 2
TURN, RUNS = 0.3, 2  # seconds and runs of an engine in a round, at least
PAUSE = 0.3  # seconds; OpenMP's threads turn for 0.2


def fastest_engine(exported: ExportedModel, batch_size: int, normalization: Normalization | None = None) -> Engine:
    """The fastest of the installed engines for batches of `batch_size`; on a GPU it is Paddle Inference.

    Args:
        normalization: as for `open_engine`.

    Raises:
        PpzooError: the export is damaged.
    """
    usable = paddle.get_device().startswith("cpu") and is_pir_program(exported)
    others = [name for name in ONNX_ENGINES if usable and is_installed(name)]
    if not others:
        return open_engine(PaddleEngine.name, exported, batch_size)
    file = cache_home() / "engines" / f"{_cache_key(exported, others, batch_size, normalization)}.json"
    remembered = _read_choice(file)
    if remembered is not None:
        logger.info("engine %s, as %s says", remembered, file)
        return open_engine(remembered, exported, batch_size, normalization)
    opened = _open_all(exported, others, batch_size, normalization)
    if not opened:
        return open_engine(PaddleEngine.name, exported, batch_size)
    engines: dict[str, Engine] = {PaddleEngine.name: open_engine(PaddleEngine.name, exported, batch_size), **opened}
    times = _measure(engines, (batch_size, *next(iter(opened.values())).planes))
    chosen = min(engines, key=lambda name: times[name])
    measured = ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in times.items())
    logger.info("engine %s: %s for %d images; remembered in %s", chosen, measured, batch_size, file)
    _write_choice(file, {"engine": chosen, "seconds": times, "batch size": batch_size, "processor": processor_name()})
    return engines[chosen]


def _cache_key(exported: ExportedModel, others: list[str], batch_size: int, normalization: Normalization | None) -> str:
    packages = {package: number for name in others for package, number in package_versions(name).items()}
    facts = [exported.identity, processor_name(), usable_cores(), paddle.__version__, packages, batch_size]
    facts += [normalization is not None]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _open_all(
    exported: ExportedModel, others: list[str], batch_size: int, normalization: Normalization | None
) -> dict[str, OnnxEngine]:
    """The engines that can run the export; of another a warning says why not."""
    engines = {}
    for name in others:
        try:
            engines[name] = open_onnx_engine(name, exported, batch_size, normalization)
        except PpzooError as error:
            logger.warning("%s is left out: %s", name, error)
    return engines


def _measure(engines: Mapping[str, Engine], shape: tuple[int, ...]) -> dict[str, float]:
    """Seconds of a batch of N x C x H x W: the least seen, for whatever else the machine does makes it more.

    An engine runs several times before the next one does: the idle threads of some keep turning for a while.
    """
    count, channels, height, width = shape
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            time.sleep(PAUSE)
            finish = time.perf_counter() + TURN
            for number in itertools.count():
                given = (count, height, width, channels) if engine.takes_pixels else shape
                images = random.integers(0, 256, given).astype(np.uint8 if engine.takes_pixels else np.float32)
                started = time.perf_counter()
                if started > finish and number >= RUNS:
                    break
                engine(images)
                times[name].append(time.perf_counter() - started)
    return {name: min(values) for name, values in times.items()}


def _read_choice(file: Path) -> str | None:
    """The engine that a file remembers; None where there is none, or one that says nothing."""
    try:
        name = json.loads(file.read_text(encoding="utf-8"))["engine"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if name in ENGINE_NAMES else None


def _write_choice(file: Path, content: dict) -> None:
    try:
        make_folder(file.parent)
        write_text(file, json.dumps(content, indent=1))
    except OSError as error:
        logger.warning("%s: expected a file that can be written (%s); set PPZOO_HOME", file, error.strerror)
