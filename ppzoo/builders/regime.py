"""How a training goes about its steps, from the configuration: their batches, precision, averages and early end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import paddle

from ppzoo import engine, native
from ppzoo.builders.components import Section
from ppzoo.config import AmpSection, Configuration, SamplerSection, settings
from ppzoo.data.loader import Loader

logger = logging.getLogger("ppzoo")

DAMPING = 0.5  # of the learning rate, by each rollback


def steps(config: Section, batches: Loader) -> engine.StepLoader:
    """The steps of the epochs: `Global.update_freq` batches each, `Global.iter_per_epoch` batches an epoch."""
    run = settings(Configuration, config).Global
    sampling = settings(SamplerSection, config["DataLoader"]["Train"]["sampler"])
    return engine.StepLoader(
        batches, update_freq=run.update_freq, iter_per_epoch=run.iter_per_epoch, drop_last=sampling.drop_last
    )


def precision(section: AmpSection | None) -> engine.MixedPrecision:
    """What the section `AMP` asks for, on the device in use; at level O2 evaluations are in half precision too."""
    if section is None or not section.use_amp:
        return engine.MixedPrecision()
    return engine.build_mixed_precision(
        level=section.level,
        dtype=section.dtype,
        scale=section.scale_loss,
        dynamic=section.use_dynamic_loss_scaling,
        promote=section.use_promote,
        evaluation=section.use_fp16_test or section.level == "O2",
    )


def average(config: Section, network: paddle.nn.Layer) -> engine.ExponentialMovingAverage | None:
    """The moving average of the network's weights that the section `EMA` asks for."""
    section = settings(Configuration, config).EMA
    return engine.ExponentialMovingAverage(network, section.decay, section.warmup) if section else None


def patience(config: Section, higher_is_better: bool) -> engine.EarlyStopping | None:
    """What `Global.early_stopping` asks for; `higher_is_better` is of the figure that decides."""
    section = settings(Configuration, config).Global.early_stopping
    return engine.EarlyStopping(section.patience, section.min_gain, higher_is_better) if section else None


def checkpointed_config(config: Section) -> dict[str, Any]:
    """What a checkpoint holds of the configuration: all but where its own files are, and the names of the classes."""
    places = ("output_dir", "checkpoints", "class_names")  # the names are part of its identity
    return {**config, "Global": {key: value for key, value in config["Global"].items() if key not in places}}


def apply_rollbacks(state: engine.TrainState, steps: engine.StepLoader, rollbacks: int) -> None:
    """Give a run that was rolled back another shuffle and a smaller learning rate.

    Args:
        rollbacks: how often by now; a restored `state` may know of more.
    """
    state.progress.rollbacks = max(rollbacks, state.progress.rollbacks)
    steps.rollbacks = state.progress.rollbacks
    state.scheduler.damping = DAMPING**state.progress.rollbacks


def static(network: paddle.nn.Layer) -> Callable[[paddle.Tensor], Any]:
    """The network's training forward pass as a static program (`Global.to_static`).

    The network itself stays as it is, for evaluation, checkpoints, and what looks into its layers.
    """
    if native.is_enabled():
        logger.info("Global.to_static: a static program takes none of the native operators; on the CPU it is slower")
    return paddle.jit.to_static(network.forward, full_graph=True)
