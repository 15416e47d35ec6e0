"""Short trainings without a run folder: the learning-rate range test, and what the profiler measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import paddle
from paddle.optimizer.lr import LRScheduler

from ppzoo import engine, optim
from ppzoo.arithmetic import MAX_FLOAT32, MIN_FLOAT32
from ppzoo.builders.optimization import PEAK_RATES, build_optimizer, build_recipe
from ppzoo.builders.preprocessing import warn_of_preprocessing
from ppzoo.builders.training import (
    build_initial_network,
    build_static_forward,
    build_steps,
    build_train_state,
    build_training_loss,
    load_training_data,
    prepare_device,
    require_training_sections,
)
from ppzoo.config import Config, OptimizerConfig
from ppzoo.data.loader import Loader
from ppzoo.errors import ConfigError

FLOORS = ("warmup_start_lr", "end_lr", "end_learning_rate", "eta_min")  # rates that must not exceed the peak
MakeOptimizer = Callable[[OptimizerConfig, paddle.nn.Layer, engine.StepLoader, int], tuple[Any, LRScheduler]]


@dataclass(frozen=True)
class TrialRun:
    """A training as a configuration describes it, without files, evaluations and checkpoints.

    Attributes:
        trainer: has no callbacks.
        loader: the loader of the training data.
        images_per_step: number of images of a full step.
    """

    trainer: engine.Trainer
    loader: Loader
    images_per_step: int


def build_trial_run(config: Config, make_optimizer: MakeOptimizer) -> TrialRun:
    """Build the training of a configuration in this process, with the optimizer of `make_optimizer`.

    Raises:
        ConfigError, DataError: as for training.
    """
    split, optimizer_config = require_training_sections(config)
    run = config.Global
    config, loader, other_classes = load_training_data(config, split, engine.SINGLE_PROCESS)
    steps = build_steps(config, split, loader)
    prepare_device(config)
    warn_of_preprocessing(config)
    network = build_initial_network(config, other_classes, is_resumed=False)
    loss, metrics = build_training_loss(config, network, loader)
    total_batch = split.sampler.batch_size * steps.update_freq
    optimizer, schedule = make_optimizer(optimizer_config, network, steps, total_batch)
    trainer = engine.Trainer(
        state=build_train_state(config, network, optimizer, schedule, metrics, loader, steps, engine.SINGLE_PROCESS),
        steps=steps,
        loss=loss,
        evaluate=None,
        plan=engine.Plan(run.epochs or 0),
        describe=loader.samples.dataset.describe,
        forward=build_static_forward(network) if run.to_static else None,
    )
    return TrialRun(trainer, loader, total_batch)


def make_configured_optimizer(config: Config) -> MakeOptimizer:
    """Return the function that builds the optimizer and the schedule of a configuration."""

    def make(
        section: OptimizerConfig, network: paddle.nn.Layer, steps: engine.StepLoader, total_batch: int
    ) -> tuple[Any, optim.Schedule]:
        epochs = config.Global.epochs or 0
        return build_optimizer(section, network, epochs=epochs, steps_per_epoch=len(steps), total_batch=total_batch)

    return make


def find_learning_rate(
    config: Config, *, lower: float, upper: float, steps: int, on_step: engine.OnStep | None = None
) -> tuple[engine.RangeTest, list[str]]:
    """Run the learning-rate range test with everything else as in training.

    Returns:
        The result, and the overrides that set the suggested rate; none without a suggestion.

    Raises:
        ConfigError: too few steps, `lower` and `upper` are no range, or an error that training would report, too.
    """
    require_range(lower, upper, steps)

    def make(section: OptimizerConfig, network: paddle.nn.Layer, *_: object) -> tuple[Any, LRScheduler]:
        schedule = engine.ExponentialRange(lower, upper, steps)
        return build_recipe(section).build(network, schedule), schedule

    run = build_trial_run(config, make)
    result = engine.run_range_test(run.trainer, steps, on_step)
    suggestion = result.suggestion
    if config.Optimizer is None or isinstance(suggestion, str):
        return result, []
    return result, lr_overrides(config.Optimizer, suggestion.rate, run.images_per_step)


def require_range(lower: float, upper: float, steps: int) -> None:
    """Check the options of the range test.

    Raises:
        ConfigError: too few steps, or `lower` and `upper` are no range.
    """
    if steps < engine.MIN_STEPS:
        raise ConfigError(f"--steps: expected at least {engine.MIN_STEPS}, got {steps}")
    if not 0 < lower < upper < float("inf"):
        raise ConfigError(f"--min, --max: expected 0 < min < max, got {lower:g} and {upper:g}")
    if lower < MIN_FLOAT32:
        raise ConfigError(f"--min: expected a learning rate of at least {MIN_FLOAT32:.2g} (float32), got {lower:g}")
    if upper > MAX_FLOAT32:
        raise ConfigError(f"--max: expected a learning rate of at most {MAX_FLOAT32:.2g} (float32), got {upper:g}")


def lr_overrides(section: OptimizerConfig, rate: float, total_batch: int) -> list[str]:
    """Return the overrides with which the highest learning rate of the schedule is `rate`.

    All peak rates keep their ratios; rates of `FLOORS` that are not below `rate` are changed by the same factor.

    Args:
        total_batch: images per step; with `reference_batch` the rate is converted to that batch size.
    """
    options: Mapping[str, Any] = section.lr.spec.options
    if section.lr.reference_batch is not None:
        rate *= section.lr.reference_batch / total_batch
    peaks = {key: options[key] for key in PEAK_RATES if options.get(key)}
    factor = rate / max(max(value) if isinstance(value, list | tuple) else value for value in peaks.values())
    found = [f"Optimizer.lr.{key}={_scaled(value, factor)}" for key, value in peaks.items()]
    floors = {key: options[key] for key in FLOORS if options.get(key, 0) >= rate}
    return found + [f"Optimizer.lr.{key}={_scaled(value, factor)}" for key, value in floors.items()]


def _scaled(value: Any, factor: float) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_scaled(one, factor) for one in value)}]"
    return f"{value * factor:.2g}"
