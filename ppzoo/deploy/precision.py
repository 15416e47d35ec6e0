"""Choose the precision in which an export is computed."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from ppzoo.deploy.engine_autotune import measure
from ppzoo.deploy.engines import PRECISIONS, Engine, require_precision
from ppzoo.deploy.export_dir import ExportedModel
from ppzoo.errors import ConfigError

logger = logging.getLogger("ppzoo")


def default_precision(exported: ExportedModel, engine: str) -> str:
    """Return the precision that an export was made for; if it cannot run here, log a warning and return float32.

    Args:
        engine: the name of an engine, or "auto".
    """
    name = exported.deployment.precision
    if name == "float32":
        return name
    try:
        require_precision(name, exported, None if engine == "auto" else engine)
    except ConfigError as error:
        logger.warning("using float32 instead of %s: %s", name, error)
        return "float32"
    return name


def lower_precisions(exported: ExportedModel, engine: str) -> list[str]:
    """Return the precisions other than float32 in which an export can run here."""
    found = []
    for name in PRECISIONS[1:]:
        try:
            require_precision(name, exported, None if engine == "auto" else engine)
        except ConfigError:
            continue
        found.append(name)
    return found


def fastest_precision(
    engines: Mapping[str, Engine], classes: Mapping[str, np.ndarray], shape: tuple[int, ...], max_drop: float
) -> tuple[str, Engine]:
    """Return the fastest of several precisions, and its engine.

    Args:
        engines: precision -> engine.
        classes: precision -> the most probable class of each of some images.
        shape: N x C x H x W of the batches to measure.
        max_drop: largest fraction of the images whose class can differ from that in float32.
    """
    agreements = {name: float((found == classes["float32"]).mean()) for name, found in classes.items()}
    accepted = {name: engine for name, engine in engines.items() if 1 - agreements[name] <= max_drop}
    seconds = measure(accepted, shape)
    fastest = min(accepted, key=lambda name: seconds[name])
    times = {name: f", {1e3 * seconds[name]:.1f} ms" if name in seconds else "" for name in engines}
    results = "; ".join(f"{name} agrees with float32 on {agreements[name]:.1%}{times[name]}" for name in engines)
    logger.info("using precision %s: %s", fastest, results)
    return fastest, engines[fastest]
