"""Rules about several keys whose values are valid on their own but contradict each other.

The rules work on the plain mapping and tolerate other mistakes in it. The class of a component declares what it
requires (see `Component`); no component is known here by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ppzoo.config.component_types import Component
from ppzoo.config.schema import DEFAULT_STUDENT
from ppzoo.config.type_checks import Problem, accepts, show
from ppzoo.errors import suggestion
from ppzoo.host import MAX_CLASSES

Components = Mapping[str, Mapping[str, Component]]
NUMBERS = {1: "one", 2: "two", 3: "three"}


class Use(NamedTuple):
    """A component that a configuration uses.

    Attributes:
        path: key path at which the component is named.
        kind: kind of component, such as "loss".
        options: its options in the configuration.
        component: what its class declares; None for an unknown name.
    """

    path: str
    kind: str
    name: str
    options: Mapping[str, Any]
    component: Component | None


def cross_check(config: Mapping[str, Any], components: Components) -> Iterator[Problem]:
    """Yield the contradictions of a configuration."""
    rules = _Rules(config, components)
    yield from rules.check_schedule()
    yield from rules.check_weight_decay()
    yield from rules.check_steps()
    yield from rules.check_image_shape()
    yield from rules.check_pretrained()
    yield from rules.check_class_counts()
    yield from rules.check_relabel()
    yield from rules.check_labels()
    yield from rules.check_outputs()
    yield from rules.check_networks()
    yield from rules.check_trained_networks()
    yield from rules.check_distillation()


def at(config: Any, path: str) -> Any:
    """Return the value at a path of keys; None if there is none."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def list_items(config: Any, path: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield path, name and options of each `{Name: options}` in the list at a path."""
    values = at(config, path)
    for index, item in enumerate(values if isinstance(values, list) else []):
        if isinstance(item, Mapping) and len(item) == 1:
            ((name, options),) = item.items()
            yield f"{path}.{index}.{name}", name, options if isinstance(options, Mapping) else {}


class _Rules:
    def __init__(self, config: Mapping[str, Any], components: Components) -> None:
        self.config, self.components = config, components
        self.arch = self.find_named("arch", "Arch")
        self.post_process = self.find_named("postprocess", "Infer.PostProcess")
        self.datasets = [self.find_named("dataset", f"DataLoader.{split}.dataset") for split in ("Train", "Eval")]
        self.losses = [use for split in ("Train", "Eval") for use in self.find_listed("loss", f"Loss.{split}")]
        self.metrics = [use for split in ("Train", "Eval") for use in self.find_listed("metric", f"Metric.{split}")]

    def at(self, path: str) -> Any:
        return at(self.config, path)

    def find_named(self, kind: str, path: str) -> Use:
        values = self.at(path)
        name = self.at(f"{path}.name")
        options = values if isinstance(values, Mapping) else {}
        return Use(f"{path}.name", kind, name, options, self.find_component(kind, name))

    def find_listed(self, kind: str, path: str) -> Iterator[Use]:
        for inner, name, options in list_items(self.config, path):
            yield Use(inner, kind, name, options, self.find_component(kind, name))

    def find_component(self, kind: str, name: Any) -> Component | None:
        return self.components.get(kind, {}).get(name) if isinstance(name, str) else None

    def names_with(self, kind: str, **declared: Any) -> str:
        """Return the names of the components of a kind that declare all of these values: "A, B or C"."""
        found = [
            name
            for name, component in self.components.get(kind, {}).items()
            if all(getattr(component, key) == value for key, value in declared.items())
        ]
        return " or ".join(filter(None, [", ".join(found[:-1]), *found[-1:]])) or "another component"

    def missing_evaluation(self) -> str | None:
        """Return what to change so that training evaluates; None if it does."""
        if self.at("DataLoader.Train") is not None and self.at("DataLoader.Eval") is None:
            return "add DataLoader.Eval"
        return "set Global.eval_during_train to true" if self.at("Global.eval_during_train") is False else None

    def check_schedule(self) -> Iterator[Problem]:
        epochs, warmup = self.at("Global.epochs"), self.at("Optimizer.lr.warmup_epoch")
        if accepts(epochs, int) and accepts(warmup, float) and warmup >= epochs > 0:
            yield Problem("Optimizer.lr.warmup_epoch", f"expected less than Global.epochs ({epochs}), got {warmup}")
        schedule, fix = self.find_named("lr", "Optimizer.lr"), self.missing_evaluation()
        if fix and schedule.component and schedule.component.needs_evaluation:
            yield Problem(schedule.path, f"{schedule.name} needs evaluations during training; {fix}")
        rate, floor = self.at("Optimizer.lr.learning_rate"), self.at("Optimizer.lr.eta_min")
        if accepts(rate, float) and accepts(floor, float) and floor >= rate > 0:
            yield Problem("Optimizer.lr.eta_min", f"expected less than learning_rate ({rate}), got {floor}")

    def check_weight_decay(self) -> Iterator[Problem]:
        optimizer, regularizer = self.find_named("optimizer", "Optimizer"), self.at("Optimizer.regularizer")
        if optimizer.component and optimizer.component.decoupled_weight_decay and regularizer is not None:
            text = f"expected null, since {optimizer.name} decays weights apart from the gradient"
            yield Problem("Optimizer.regularizer", f"{text}, got {show(regularizer)}; use Optimizer.weight_decay")

    def check_steps(self) -> Iterator[Problem]:
        freq, batches = self.at("Global.update_freq"), self.at("Global.iter_per_epoch")
        if accepts(freq, int) and accepts(batches, int) and freq > 0 and batches % freq:
            expected = f"a multiple of Global.update_freq ({freq}), so that an epoch ends with a complete step"
            yield Problem("Global.iter_per_epoch", f"expected {expected}, got {batches}")
        fix = self.missing_evaluation()
        if fix and self.at("Global.early_stopping") is not None:
            yield Problem("Global.early_stopping", f"early stopping needs evaluations during training; {fix}")

    def check_image_shape(self) -> Iterator[Problem]:
        shape = self.at("Global.image_shape")
        channels = shape[0] if accepts(shape, list[int]) and shape else None
        for path in ("Global.image_channel", "Arch.input_image_channel"):
            given = self.at(path)
            if channels is not None and accepts(given, int) and given != channels:
                yield Problem(path, f"expected the channels of Global.image_shape ({channels}), got {given}")

    def check_pretrained(self) -> Iterator[Problem]:
        pretrained = self.at("Arch.pretrained")
        if self.at("Arch.use_ssld") is True and pretrained in (None, False):
            yield Problem("Arch.use_ssld", f"requires Arch.pretrained: true, got Arch.pretrained: {show(pretrained)}")

    def check_class_counts(self) -> Iterator[Problem]:
        """Everything that implies a number of classes must agree with `Arch.class_num`."""
        count = self.at("Arch.class_num")
        if not accepts(count, int):
            return
        if count < 1:
            yield Problem("Arch.class_num", f"expected an integer of at least 1, got {count}")
            return
        if count > MAX_CLASSES:
            yield Problem("Arch.class_num", f"expected at most {MAX_CLASSES}, got {count}")
            return
        for use in (*self.losses, *self.metrics):
            weights = _if_accepted(use.options.get("class_weights"), list[float])
            topk = use.options.get("topk")
            topk = _if_accepted([topk] if accepts(topk, int) else topk, list[int])
            if weights is not None and len(weights) != count:
                expected = f"expected {count} weights, one per class (Arch.class_num)"
                yield Problem(f"{use.path}.class_weights", f"{expected}, got {len(weights)}")
            if topk and min(topk) > count:
                yield Problem(f"{use.path}.topk", f"expected at most {count} (Arch.class_num), got {topk}")
        if count == 1 and self.at("Global.use_multilabel") is not True:
            expected = "expected 2 or more, since the probability of a single class is always 1"
            yield Problem("Arch.class_num", f"{expected}, got 1; for yes or no set Global.use_multilabel to true")
        own = self.at("Global.class_names")
        if accepts(own, list[str]) and own and len(own) > count:
            yield Problem("Global.class_names", f"expected at most {count} names (Arch.class_num), got {len(own)}")
        names = self.at("Infer.PostProcess.label_list")
        if accepts(names, list[str]) and names and len(names) != count:
            expected = f"expected {count} names, one per class (Arch.class_num)"
            yield Problem("Infer.PostProcess.label_list", f"{expected}, got {len(names)}")

    def check_relabel(self) -> Iterator[Problem]:
        """Training and evaluation data of the same kind must map labels in the same way."""
        path = "DataLoader.{}.dataset"
        train, evaluation = (self.at(path.format(split)) for split in ("Train", "Eval"))
        both = isinstance(train, Mapping) and isinstance(evaluation, Mapping)
        if both and train.get("name") == evaluation.get("name"):
            expected, got = (bool(section.get("relabel")) for section in (train, evaluation))
            if expected != got:
                text = f"expected {show(expected)}, as in {path.format('Train')}, got {show(got)}"
                yield Problem(f"{path.format('Eval')}.relabel", text)

    def check_labels(self) -> Iterator[Problem]:
        """Data, losses, metrics and post-processing must support one or several labels per image (`use_multilabel`)."""
        if self.at("Global.use_multilabel") is not True:
            for use in (*self.datasets, *self.losses, self.post_process):
                if use.component and use.component.label_kind == "multi":
                    text = f"{use.name} is for several labels per image; set Global.use_multilabel to true"
                    yield Problem(use.path, text)
            return
        because = "since Global.use_multilabel is true"
        for use in self.datasets:
            if use.component and use.component.label_kind != "multi":
                expected = self.names_with("dataset", label_kind="multi")
                yield Problem(use.path, f"expected {expected}, {because}, got {use.name}")
            path = use.path.replace(".name", ".batch_transform_ops")
            if self.at(path):
                yield Problem(path, f"expected none, {because}, got {show(self.at(path))}")
        for use in (*self.losses, *self.metrics):
            if use.component and use.component.label_kind == "single":
                expected = self.names_with(use.kind, label_kind="multi")
                yield Problem(use.path, f"expected {expected}, {because}, got {use.name}")

    def check_outputs(self) -> Iterator[Problem]:
        """Losses and metrics must accept the number of outputs that the network has."""
        arch = self.arch.component
        if arch is None:
            return
        for use in (*self.losses, *self.metrics):
            if use.component is None or use.component.outputs == arch.outputs:
                continue
            if arch.outputs > 1:
                expected = self.names_with(use.kind, outputs=arch.outputs)
                count = NUMBERS.get(arch.outputs, str(arch.outputs))
                yield Problem(use.path, f"expected {expected}, since {arch.name} has {count} outputs, got {use.name}")
            else:
                outputs = use.component.outputs
                expected = f"a network with {NUMBERS.get(outputs, str(outputs))} outputs"
                names = self.names_with("arch", outputs=outputs)
                yield Problem(use.path, f"expected {expected} ({names}) for {use.name}, got {arch.name}")

    def network_names(self) -> list[str] | None:
        """Return the names in `Arch.models`; None if the architecture has none or they cannot be read."""
        models = self.at("Arch.models")
        if not (self.arch.component and self.arch.component.networks == "several" and isinstance(models, list)):
            return None
        names = [name for _, name, _ in list_items(self.config, "Arch.models")]
        return names if len(names) == len(models) and all(isinstance(name, str) for name in names) else None

    def check_networks(self) -> Iterator[Problem]:
        """Everything that names a network of a distillation must name one that exists."""
        names = self.network_names()
        if names is None:
            return
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or not names:
            got = f"{repeated[0]!r} twice" if repeated else "none"
            yield Problem("Arch.models", f"expected networks with different names, got {got}")
        for key in ("pretrained_list", "freeze_params_list"):
            values = self.at(f"Arch.{key}")
            if isinstance(values, list) and len(values) != len(names):
                yield Problem(f"Arch.{key}", f"expected {len(names)} entries, one per network, got {len(values)}")
        for key in ("pretrained", "use_ssld", "freeze"):
            if self.at(f"Arch.{key}"):
                yield Problem(f"Arch.{key}", f"set this on each network in Arch.models, not on {self.arch.name}")
        for path, name, options in list_items(self.config, "Arch.models"):
            if not name.isidentifier():
                yield Problem(path, f"expected a name of letters, digits and underscores, got {show(name)}")
            member = self.find_component("arch", options.get("name"))
            if member and (member.networks == "several" or member.outputs > 1):
                yield Problem(f"{path}.name", f"expected a network with one output, got {member.name}")
        for path, name in self.used_networks():
            if isinstance(name, str) and name not in names:
                text = f"expected the name of a network in Arch.models, got {name!r}{suggestion(name, names)}"
                yield Problem(path, text)

    def used_networks(self) -> Iterator[tuple[str, Any]]:
        """Yield path and name of every network that something refers to."""
        yield "Arch.infer_model_name", self.at("Arch.infer_model_name") or DEFAULT_STUDENT
        for use in (self.post_process, *self.losses, *self.metrics):
            path = use.path.removesuffix(".name") if use is self.post_process else use.path
            for key in use.component.network_options if use.component else ():
                yield from ((f"{path}.{key}", name) for name in _flatten(use.options.get(key)))

    def check_trained_networks(self) -> Iterator[Problem]:
        """The networks that losses train are not frozen, and all others are."""
        names = self.network_names()
        trained = {
            name
            for use in self.losses
            if use.path.startswith("Loss.Train.") and use.component
            for key in use.component.network_options
            for name in _trained_networks(use.options.get(key))
        }
        given = self.at("Arch.freeze_params_list")
        frozen = [False] * len(names or ()) if given is None else given
        if not names or not trained or not accepts(frozen, list[bool]) or len(frozen) != len(names):
            return
        for name, is_frozen in zip(names, frozen, strict=True):
            if is_frozen == (name in trained):
                which = f"which {'a' if is_frozen else 'no'} loss in Loss.Train trains"
                expected = f"expected {show(not is_frozen)} for {name}, {which}"
                yield Problem("Arch.freeze_params_list", f"{expected}, got {show(is_frozen)}")

    def check_distillation(self) -> Iterator[Problem]:
        """Losses and metrics of several networks require an architecture of several networks, and vice versa."""
        arch = self.arch.component
        if arch is None:
            return
        for use in (*self.losses, *self.metrics, self.post_process):
            if use.component is None or use.component.networks == arch.networks:
                continue
            if arch.networks == "one":
                expected = self.names_with("arch", networks="several")
                yield Problem(use.path, f"expected Arch.name {expected} for {use.name}, got {arch.name}")
            elif use is not self.post_process:
                expected = f"{self.names_with(use.kind, networks='several')}, whose options name the networks"
                yield Problem(use.path, f"expected {expected}, got {use.name}")


def _if_accepted(value: Any, hint: Any) -> Any:
    """Return the value if it has the type `hint`, else None."""
    return value if accepts(value, hint) else None


def _flatten(value: Any) -> Iterator[Any]:
    """Yield the names in a name, a list of names, or a list of pairs."""
    for item in value if isinstance(value, list) else [value]:
        yield from item if isinstance(item, list) else [item]


def _trained_networks(value: Any) -> Iterator[str]:
    """Yield the networks that a loss trains: all of a list of names, the first of each pair."""
    yield from _if_accepted(value, list[str]) or []
    yield from (pair[0] for pair in _if_accepted(value, list[list[str]]) or [] if pair)
