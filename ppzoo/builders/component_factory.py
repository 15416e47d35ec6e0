"""Build components from their specs: the table of all components, and losses, metrics, transforms, postprocessing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ppzoo import data, deploy, losses, metrics, models, optim
from ppzoo.config import (
    ArchConfig,
    Component,
    ComponentSpec,
    DistillationConfig,
    LossTermConfig,
    NetworkConfig,
    PostProcessConfig,
    find_out_of_range,
    known_keys,
    parse_component,
    parse_components,
)
from ppzoo.errors import ConfigError, join_key, suggestion
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


def make(table: Registry[type[T]], spec: ComponentSpec, *, key: str = "", **supplied: Any) -> T:
    """Build a component of a registry from its spec and the arguments that the program supplies.

    Args:
        key: path of the component in the configuration, for messages; by default they begin with its kind and name.

    Raises:
        ConfigError: an unknown name, or options that are unknown, missing or out of range.
    """
    entry = table[spec.name]
    key = key or f"{table.kind} {spec.name}"
    out_of_range = [join_key(key, f".{problem.line()}") for problem in find_out_of_range("", spec.options)]
    if out_of_range:
        raise ConfigError(*out_of_range)
    arguments = {**spec.options, **supplied}
    signature = inspect.signature(entry)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{key}: {_describe_arguments(signature, arguments) or error}") from error
    try:
        return entry(**arguments)
    except ConfigError as error:
        problems = (_relative_to_component(problem, spec.name, signature) for problem in error.problems)
        raise ConfigError(*(join_key(key, problem) for problem in problems)) from error


def _describe_arguments(signature: inspect.Signature, arguments: Plain) -> str:
    """Return which option is unknown or missing; "" if none is."""
    parameters = signature.parameters
    unknown = next((name for name in arguments if name not in parameters), None)
    if unknown is not None:
        return f"unknown option {unknown!r}{suggestion(unknown, parameters)}"
    needed = (name for name, parameter in parameters.items() if parameter.default is parameter.empty)
    missing = next((name for name in needed if name not in arguments), None)
    return f"missing option {missing!r}" if missing else ""


def _relative_to_component(problem: str, name: str, signature: inspect.Signature) -> str:
    """Return '.OPTION: PROBLEM' if a component's problem begins with one of its options, else 'PROBLEM'.

    The component's name at the beginning of a problem is removed.
    """
    own = problem.removeprefix(name)
    if own != problem and own.startswith((".", ": ")):
        return own.removeprefix(": ")
    first = re.match(r"\w+(?=[.:])", problem)
    return f".{problem}" if first and first.group() in signature.parameters else problem


def parse_specs(kind: str, items: Sequence[Plain | ComponentSpec]) -> tuple[ComponentSpec, ...]:
    """Return the specs of a list in PaddleClas's form, `[{Name: options}, ...]`; specs in it are kept."""
    return parse_components(ComponentSpec, kind, items, {})


def make_listed(
    table: Registry[type[T]], specs: Sequence[ComponentSpec], key: str = "", **supplied: Any
) -> Iterator[T]:
    """Build the components of a list; `key` is its path in the configuration, for messages."""
    for index, spec in enumerate(specs):
        yield make(table, spec, key=f"{key}.{index}.{spec.name}" if key else "", **supplied)


def build_loss(
    cfg: Sequence[Plain | LossTermConfig], *, key: str = "", network: str | None = None
) -> losses.CombinedLoss:
    """Build the weighted sum of losses such as `[{"CELoss": {"weight": 1.0, "epsilon": 0.1}}]`.

    Called with (output, label), it returns each weighted loss by its name, and their sum as "loss".

    Args:
        key: path of the list in the configuration, for messages.
        network: see `CombinedLoss`.
    """
    terms = parse_components(LossTermConfig, "loss", cfg, {})
    built = make_listed(losses.LOSSES, [term.spec for term in terms], key)
    return losses.CombinedLoss([(loss, term.weight) for loss, term in zip(built, terms, strict=True)], network=network)


def build_metrics(
    cfg: Sequence[Plain | ComponentSpec], *, key: str = "", network: str | None = None
) -> metrics.MetricList:
    """Build metrics such as `[{"TopkAcc": {"topk": [1, 5]}}]`; `key` and `network` are as for `build_loss`."""
    built = list(make_listed(metrics.METRICS, parse_specs("metric", cfg), key))
    return metrics.MetricList(built, network=network)


def build_transforms(ops: Sequence[Plain | ComponentSpec], *, key: str = "") -> data.Compose:
    """Build transforms such as `[{"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}]`.

    The result takes an H x W x C uint8 RGB image, or encoded bytes if the list starts with `DecodeImage`.

    Args:
        key: path of the list in the configuration, for messages.
    """
    return data.Compose(list(make_listed(data.TRANSFORMS, parse_specs("transform", ops), key)))


def build_batch_transforms(
    ops: Sequence[Plain | ComponentSpec], class_num: int | None, *, key: str = ""
) -> list[data.BatchTransform]:
    """Build batch transforms such as `[{"MixupOperator": {"alpha": 0.2}}]`; `key` is as for `build_loss`."""
    specs = parse_specs("batch_transform", ops)
    return list(make_listed(data.BATCH_TRANSFORMS, specs, key, class_num=class_num))


def build_postprocess(
    cfg: Plain | PostProcessConfig, labels: Mapping[int, str], *, key: str = ""
) -> Callable[[np.ndarray], list[dict[str, Any]]]:
    """Build the function of `Infer.PostProcess` that converts probabilities (N x class_num) to predictions.

    Args:
        labels: class index -> name.
        key: path of the mapping in the configuration, for messages.
    """
    section = parse_component(PostProcessConfig, "postprocess", cfg, {})
    return make(deploy.POSTPROCESSES, section.spec, key=key, labels=labels)


def describe_arch(arch: ArchConfig) -> str:
    """Return the name of the network for logs and checkpoints."""
    if not isinstance(arch, DistillationConfig):
        return arch.name
    return f"{DISTILLATION} of " + ", ".join(f"{name} {network.name}" for name, network in arch.networks.items())


def class_count(network: NetworkConfig) -> int:
    """Return the number of classes of a network; of a distillation, that of the network used after training."""
    network = network.deployed if isinstance(network, ArchConfig) else network
    return models.MODELS[network.name].class_num if network.class_num is None else network.class_num
