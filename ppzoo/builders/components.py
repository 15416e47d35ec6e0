"""Build components from their specs: the table of all components, and losses, metrics, transforms, post-processing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ppzoo import data, deploy, losses, metrics, models, optim
from ppzoo.config import (
    Component,
    ComponentSpec,
    DistillationConfig,
    LossTermConfig,
    PostProcessConfig,
    find_out_of_range,
    known_keys,
    parse_component,
    parse_components,
)
from ppzoo.errors import ConfigError
from ppzoo.registry import Registry

Plain = Mapping[str, Any]
"""A component as a plain mapping in PaddleClas's form."""
T = TypeVar("T")

# Arguments that the program supplies to the components of a kind, and that a configuration cannot set.
SUPPLIED = {
    "dataset": {"class_num"},
    "batch_transform": {"class_num"},
    "sampler": {"length", "labels", "seed", "rank", "world_size", "pad"},
    "lr": {"epochs", "steps_per_epoch"},
    "postprocess": {"labels"},
}
TABLES: dict[str, Registry[Any]] = {
    "loss": losses.LOSSES,
    "metric": metrics.METRICS,
    "optimizer": optim.OPTIMIZERS,
    "regularizer": optim.REGULARIZERS,
    "lr": optim.SCHEDULES,
    "dataset": data.DATASETS,
    "transform": data.TRANSFORMS,
    "batch_transform": data.BATCH_TRANSFORMS,
    "sampler": data.SAMPLERS,
    "postprocess": deploy.POSTPROCESSES,
}


def components(*kinds: str) -> dict[str, dict[str, Component]]:
    """Return the components that a configuration can name, by kind and name; all kinds by default."""
    found = {
        kind: {name: Component.of(entry, SUPPLIED.get(kind, ()), name) for name, entry in table.items()}
        for kind, table in TABLES.items()
        if not kinds or kind in kinds
    }
    if not kinds or "arch" in kinds:
        found["arch"] = {name: Component.of(entry.network, entry.fixed, name) for name, entry in models.MODELS.items()}
        found["arch"][DISTILLATION] = Component(
            DISTILLATION,
            known_keys(DistillationConfig, component_options=True),
            models.DistillationModel.__doc__.splitlines()[0],  # type: ignore[union-attr]
            networks="several",
        )
    return found


DISTILLATION = models.DistillationModel.__name__


def make(table: Registry[type[T]], spec: ComponentSpec, **supplied: Any) -> T:
    """Build a component of a registry from its spec and the arguments that the program supplies.

    Raises:
        ConfigError: an unknown name, or options that are unknown, missing or out of range.
    """
    entry = table[spec.name]
    title = f"{table.kind} {spec.name}"
    out_of_range = [f"{title}: {problem.line()}" for problem in find_out_of_range("", spec.options)]
    if out_of_range:
        raise ConfigError(*out_of_range)
    arguments = {**spec.options, **supplied}
    try:
        inspect.signature(entry).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{title}: {error}") from error
    try:
        return entry(**arguments)
    except ConfigError as error:
        problems = (
            f"{table.kind} {problem}" if problem.startswith(spec.name) else f"{title}: {problem}"
            for problem in error.problems
        )
        raise ConfigError(*problems) from error


def parse_specs(kind: str, items: Sequence[Plain | ComponentSpec]) -> tuple[ComponentSpec, ...]:
    """Return the specs of a list in PaddleClas's form, `[{Name: options}, ...]`; specs in it are kept."""
    return parse_components(ComponentSpec, kind, items, {})


def build_loss(cfg: Sequence[Plain | LossTermConfig]) -> losses.CombinedLoss:
    """Build the weighted sum of losses such as `[{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]`.

    Called with (output, label), it returns each loss by its name, and their sum as "loss".
    """
    terms = parse_components(LossTermConfig, "loss", cfg, {})
    return losses.CombinedLoss([(make(losses.LOSSES, term.spec), term.weight) for term in terms])


def build_metrics(cfg: Sequence[Plain | ComponentSpec]) -> metrics.MetricList:
    """Build metrics such as `[{"TopkAcc": {"topk": [1, 5]}}]`."""
    return metrics.MetricList([make(metrics.METRICS, spec) for spec in parse_specs("metric", cfg)])


def build_transforms(ops: Sequence[Plain | ComponentSpec]) -> data.Compose:
    """Build transforms such as `[{"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}]`.

    The result takes an H x W x C uint8 RGB image, or encoded bytes if the list starts with `DecodeImage`.
    """
    return data.Compose([make(data.TRANSFORMS, spec) for spec in parse_specs("transform", ops)])


def build_batch_transforms(ops: Sequence[Plain | ComponentSpec], class_num: int | None) -> list[data.BatchTransform]:
    """Build batch transforms such as `[{"MixupOperator": {"alpha": 0.2}}]`."""
    specs = parse_specs("batch_transform", ops)
    return [make(data.BATCH_TRANSFORMS, spec, class_num=class_num) for spec in specs]


def build_postprocess(
    cfg: Plain | PostProcessConfig, labels: Mapping[int, str]
) -> Callable[[np.ndarray], list[dict[str, Any]]]:
    """Build the function from probabilities (N x class_num) to predictions of `Infer.PostProcess`.

    Args:
        labels: class index -> name.
    """
    section = parse_component(PostProcessConfig, "postprocess", cfg, {})
    return make(deploy.POSTPROCESSES, section.spec, labels=labels)
