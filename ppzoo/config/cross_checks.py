"""Rules about several keys whose values are valid on their own but contradict each other.

The rules work on the plain mapping and tolerate other mistakes in it. The class of a component declares what it
requires (see `Component`); no component is known here by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppzoo.config.component_types import Components
from ppzoo.config.component_uses import ComponentUses, Use
from ppzoo.config.distillation_checks import check_distillation
from ppzoo.config.type_checks import Problem, accepts, if_accepted, show
from ppzoo.host import MAX_CLASSES

NUMBERS = {1: "one", 2: "two", 3: "three"}


def cross_check(config: Mapping[str, Any], components: Components) -> Iterator[Problem]:
    """Yield the contradictions of a configuration."""
    uses = ComponentUses(config, components)
    yield from _check_schedule(uses)
    yield from _check_weight_decay(uses)
    yield from _check_steps(uses)
    yield from _check_image_shape(uses)
    yield from _check_pretrained(uses)
    yield from _check_class_counts(uses)
    yield from _check_relabel(uses)
    yield from _check_labels(uses)
    yield from _check_outputs(uses)
    yield from check_distillation(uses)


def _missing_evaluation(uses: ComponentUses) -> str | None:
    """Return what to change so that training evaluates; None if it does."""
    if uses.at("DataLoader.Train") is not None and uses.at("DataLoader.Eval") is None:
        return "add DataLoader.Eval"
    return "set Global.eval_during_train to true" if uses.at("Global.eval_during_train") is False else None


def _check_schedule(uses: ComponentUses) -> Iterator[Problem]:
    epochs, warmup = uses.at("Global.epochs"), uses.at("Optimizer.lr.warmup_epoch")
    if accepts(epochs, int) and accepts(warmup, float) and warmup >= epochs > 0:
        yield Problem("Optimizer.lr.warmup_epoch", f"expected less than Global.epochs ({epochs}), got {warmup}")
    schedule, fix = uses.find_named("lr", "Optimizer.lr"), _missing_evaluation(uses)
    if fix and schedule.component and schedule.component.needs_evaluation:
        yield Problem(schedule.path, f"{schedule.name} needs evaluations during training; {fix}")
    yield from _check_observed_metric(uses, schedule)
    rate, floor = uses.at("Optimizer.lr.learning_rate"), uses.at("Optimizer.lr.eta_min")
    if accepts(rate, float) and accepts(floor, float) and floor >= rate > 0:
        yield Problem("Optimizer.lr.eta_min", f"expected less than learning_rate ({rate}), got {floor}")


def _check_observed_metric(uses: ComponentUses, schedule: Use) -> Iterator[Problem]:
    """A schedule that expects the main metric to increase requires a metric whose higher values are better."""
    option, value = (schedule.component and schedule.component.increasing_metric_if) or ("", "")
    if not option or schedule.options.get(option) != value:
        return
    path = f"Optimizer.lr.{option}"
    main = next((use for use in uses.metrics if use.path.startswith("Metric.Eval.")), None)
    if main is None:
        yield Problem(path, f"{value} observes the first metric of Metric.Eval, which has none; add one")
    elif main.component and not main.component.higher_is_better:
        expected = f"{value} requires a first metric in Metric.Eval whose higher values are better"
        yield Problem(path, f"{expected}, got {main.name}; use min, which observes the loss")


def _check_weight_decay(uses: ComponentUses) -> Iterator[Problem]:
    optimizer, regularizer = uses.find_named("optimizer", "Optimizer"), uses.at("Optimizer.regularizer")
    if optimizer.component and optimizer.component.decoupled_weight_decay and regularizer is not None:
        text = f"expected null, since {optimizer.name} has decoupled weight decay"
        yield Problem("Optimizer.regularizer", f"{text}, got {show(regularizer)}; use Optimizer.weight_decay")


def _check_steps(uses: ComponentUses) -> Iterator[Problem]:
    freq, batches = uses.at("Global.update_freq"), uses.at("Global.iter_per_epoch")
    if accepts(freq, int) and accepts(batches, int) and freq > 0 and batches % freq:
        expected = f"a multiple of Global.update_freq ({freq}), so that an epoch ends with a complete step"
        yield Problem("Global.iter_per_epoch", f"expected {expected}, got {batches}")
    fix = _missing_evaluation(uses)
    if fix and uses.at("Global.early_stopping") is not None:
        yield Problem("Global.early_stopping", f"early stopping needs evaluations during training; {fix}")


def _check_image_shape(uses: ComponentUses) -> Iterator[Problem]:
    shape = uses.at("Global.image_shape")
    channels = shape[0] if accepts(shape, list[int]) and shape else None
    for path in ("Global.image_channel", "Arch.in_channels", "Arch.input_image_channel"):
        given = uses.at(path)
        if channels is not None and accepts(given, int) and given != channels:
            yield Problem(path, f"expected the channels of Global.image_shape ({channels}), got {given}")


def _check_pretrained(uses: ComponentUses) -> Iterator[Problem]:
    """`use_ssld` alone is probably a mistake; with `pretrained: false` it has no effect, as in PaddleClas."""
    if uses.arch.component and uses.arch.component.networks == "several":
        return  # PaddleClas ignores Arch.use_ssld of several networks
    if uses.at("Arch.use_ssld") is True and uses.at("Arch.pretrained") is None:
        yield Problem("Arch.use_ssld", "requires Arch.pretrained: true, got Arch.pretrained: null")


def _check_class_counts(uses: ComponentUses) -> Iterator[Problem]:
    """Everything that implies a number of classes must agree with `Arch.class_num`."""
    count = uses.at("Arch.class_num")
    if not accepts(count, int):
        return
    if count < 1:
        yield Problem("Arch.class_num", f"expected an integer of at least 1, got {count}")
        return
    if count > MAX_CLASSES:
        yield Problem("Arch.class_num", f"expected at most {MAX_CLASSES}, got {count}")
        return
    for use in (*uses.losses, *uses.metrics):
        weights = if_accepted(use.options.get("class_weights"), list[float])
        topk = use.options.get("topk")
        topk = if_accepted([topk] if accepts(topk, int) else topk, list[int])
        if weights is not None and len(weights) != count:
            expected = f"expected {count} weights, one per class (Arch.class_num)"
            yield Problem(f"{use.path}.class_weights", f"{expected}, got {len(weights)}")
        if topk and min(topk) > count:
            yield Problem(f"{use.path}.topk", f"expected at most {count} (Arch.class_num), got {topk}")
    for use in (*uses.metrics, uses.post_process):
        required = use.component.required_classes if use.component else None
        if required not in (None, count):
            text = f"expected a network of {required} classes for {use.name}, got {count} (Arch.class_num)"
            yield Problem(use.path, text)
    if count == 1 and uses.at("Global.use_multilabel") is not True:
        expected = "expected 2 or more, since the probability of a single class is always 1, got 1"
        yield Problem("Arch.class_num", f"{expected}; to train one yes-or-no label, set Global.use_multilabel to true")
    own = uses.at("Global.class_names")
    if accepts(own, list[str]) and own and len(own) > count:
        yield Problem("Global.class_names", f"expected at most {count} names (Arch.class_num), got {len(own)}")
    names = uses.at("Infer.PostProcess.label_list")
    if accepts(names, list[str]) and names and len(names) != count:
        expected = f"expected {count} names, one per class (Arch.class_num)"
        yield Problem("Infer.PostProcess.label_list", f"{expected}, got {len(names)}")


def _check_relabel(uses: ComponentUses) -> Iterator[Problem]:
    """Training and evaluation data of the same kind must map labels in the same way."""
    path = "DataLoader.{}.dataset"
    train, evaluation = (uses.at(path.format(split)) for split in ("Train", "Eval"))
    both = isinstance(train, Mapping) and isinstance(evaluation, Mapping)
    if both and train.get("name") == evaluation.get("name"):
        expected, got = (bool(section.get("relabel")) for section in (train, evaluation))
        if expected != got:
            text = f"expected {show(expected)}, as in {path.format('Train')}, got {show(got)}"
            yield Problem(f"{path.format('Eval')}.relabel", text)


def _check_labels(uses: ComponentUses) -> Iterator[Problem]:
    """Components for several labels per image require `Global.use_multilabel`.

    With `Global.use_multilabel`, data, losses and metrics must support several labels per image.
    """
    if uses.at("Global.use_multilabel") is not True:
        for use in (*uses.datasets, *uses.losses, *uses.metrics, uses.post_process):
            if use.component and use.component.label_kind == "multi":
                text = f"{use.name} is for several labels per image; set Global.use_multilabel to true"
                yield Problem(use.path, text)
        return
    because = "since Global.use_multilabel is true"
    for use in uses.datasets:
        if use.component and use.component.label_kind != "multi":
            expected = uses.names_with("dataset", label_kind="multi")
            yield Problem(use.path, f"expected {expected}, {because}, got {use.name}")
        path = use.path.replace(".name", ".batch_transform_ops")
        if uses.at(path):
            yield Problem(path, f"expected none, {because}, got {show(uses.at(path))}")
    for use in (*uses.losses, *uses.metrics):
        if use.component and use.component.label_kind == "single":
            expected = uses.names_with(use.kind, label_kind="multi", networks=use.component.networks)
            yield Problem(use.path, f"expected {expected}, {because}, got {use.name}")


def _check_outputs(uses: ComponentUses) -> Iterator[Problem]:
    """Losses and metrics must accept the number of outputs that the network has."""
    arch = uses.arch.component
    if arch is None:
        return
    for use in (*uses.losses, *uses.metrics):
        if use.component is None or use.component.outputs == arch.outputs:
            continue
        if arch.outputs > 1:
            expected = uses.names_with(use.kind, outputs=arch.outputs)
            count = NUMBERS.get(arch.outputs, str(arch.outputs))
            yield Problem(use.path, f"expected {expected}, since {arch.name} has {count} outputs, got {use.name}")
        else:
            outputs = use.component.outputs
            expected = f"a network with {NUMBERS.get(outputs, str(outputs))} outputs"
            names = uses.names_with("arch", outputs=outputs)
            yield Problem(use.path, f"expected {expected} ({names}) for {use.name}, got {arch.name}")
