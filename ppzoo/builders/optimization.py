"""Build optimizers, learning-rate schedules, EMA and early stopping."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import paddle

from ppzoo import engine, optim
from ppzoo.builders.component_factory import Plain, components, make
from ppzoo.config import ComponentSpec, Config, LrConfig, OptimizerConfig, parse_component
from ppzoo.errors import ConfigError

logger = logging.getLogger("ppzoo")

PEAK_RATES = ("learning_rate", "base_learning_rate", "max_learning_rate", "values")


def build_lr_schedule(
    cfg: Plain | LrConfig, *, epochs: int, steps_per_epoch: int, total_batch: int | None = None, key: str = ""
) -> optim.Schedule:
    """Build the learning-rate schedule of `Optimizer.lr`, to be stepped once per training step.

    Args:
        total_batch: images per step over all processes; with `reference_batch`, the rates are scaled to this number.
        key: path of the section in the configuration, for messages.
    """
    section = parse_component(LrConfig, "lr", cfg, components("lr"))
    spec = section.spec
    if section.reference_batch is not None:
        spec = replace(spec, options=_scale_rates(spec.options, section.reference_batch, total_batch))
    return make(optim.SCHEDULES, spec, key=key, epochs=epochs, steps_per_epoch=steps_per_epoch)


def _scale_rates(options: Mapping[str, Any], reference: int, total_batch: int | None) -> dict[str, Any]:
    """Scale the rates of a schedule linearly to another batch size: Goyal et al., arXiv:1706.02677, section 2.1.

    The peak rates, and all `values` of `Piecewise`, are scaled; the start of the warm-up and final rates such as
    `eta_min` are not.
    """
    if total_batch is None:
        raise ConfigError("Optimizer.lr.reference_batch: expected a known batch size to scale to; pass total_batch")
    scaled = dict(options)
    for key in PEAK_RATES:
        if key in options:
            scaled[key] = _multiply(options[key], total_batch / reference)
            logger.info(
                "Optimizer.lr.%s: scaled from %s for batches of %d to %s for batches of %d",
                *(key, options[key], reference, scaled[key], total_batch),
            )
    return scaled


def _multiply(rate: Any, factor: float) -> Any:
    return [value * factor for value in rate] if isinstance(rate, list) else rate and rate * factor


def build_recipe(cfg: Plain | OptimizerConfig, *, key: str = "") -> optim.Recipe:
    """Build the recipe of the section `Optimizer`, whose `build` creates the optimizer for a model and a schedule.

    Args:
        key: path of the section in the configuration, for messages.
    """
    section = parse_component(OptimizerConfig, "optimizer", cfg, components("lr", "optimizer", "regularizer"))
    spec, regularizer = section.spec, section.regularizer
    if regularizer is not None:
        mapping = {"name": regularizer.name, **regularizer.options}
        spec = ComponentSpec(spec.name, {**spec.options, "regularizer": mapping})
    return make(optim.OPTIMIZERS, spec, key=key)


def build_optimizer(
    cfg: Plain | OptimizerConfig,
    model: paddle.nn.Layer,
    *,
    epochs: int,
    steps_per_epoch: int,
    total_batch: int | None = None,
) -> tuple[paddle.optimizer.Optimizer, optim.Schedule]:
    """Build the optimizer of the section `Optimizer` for a model's parameters, and its schedule.

    The keyword arguments are those of `build_lr_schedule`.
    """
    section = parse_component(OptimizerConfig, "optimizer", cfg, components("lr", "optimizer", "regularizer"))
    schedule = build_lr_schedule(section.lr, epochs=epochs, steps_per_epoch=steps_per_epoch, total_batch=total_batch)
    return build_recipe(section).build(model, schedule), schedule


def build_ema(config: Config, network: paddle.nn.Layer) -> engine.ExponentialMovingAverage | None:
    """Build the moving average of the network's weights that `EMA` describes; None without that section."""
    section = config.EMA
    return engine.ExponentialMovingAverage(network, section.decay, section.warmup) if section else None


def build_early_stopping(config: Config, higher_is_better: bool) -> engine.EarlyStopping | None:
    """Build what `Global.early_stopping` describes; `higher_is_better` is that of the main metric."""
    section = config.Global.early_stopping
    return engine.EarlyStopping(section.patience, section.min_gain, higher_is_better) if section else None
