"""Values that are right alone and wrong together: what asks for two things that cannot both be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppzoo.config.type_checks import Problem, accepts, show
from ppzoo.errors import suggestion
from ppzoo.host import MAX_CLASSES

DISTILLATION = "DistillationModel"
SEVERAL_LABELS = ("MultiLabelDataset", "MultiLabelLoss", "MultiLabelThreshOutput", "MultiLabelTopk")
ONE_LABEL = {
    *("CELoss", "FocalLoss", "PolyLoss", "SoftTargetCELoss", "SoftTargetCrossEntropy", "DistillationGTCELoss"),
    *("TopkAcc", "DistillationTopkAcc", "PrecisionRecallF1", "AveragePrecision", "ExpectedCalibrationError"),
}
SEVERAL_OUTPUTS = {"Loss": "GoogLeNetLoss", "Metric": "GoogLeNetTopkAcc"}


def cross_check(config: Mapping[str, Any]) -> Iterator[Problem]:
    """The contradictions of a configuration, whatever else may be wrong with it."""
    for rule in (
        _schedule,
        _decay,
        _steps,
        _shapes,
        _weights,
        _classes,
        _relabel,
        _labels,
        _outputs,
        _networks,
        _distilled,
    ):
        yield from rule(config)


def at(config: Any, path: str) -> Any:
    """The value at a path of keys; None where there is none."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def fitting(value: Any, hint: Any) -> Any:
    """The value if it is of the type that is asked for, else None."""
    return value if accepts(value, hint) else None


def listed(config: Any, path: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Path, name and options of each `{Name: options}` in the list at a path."""
    values = at(config, path)
    for index, item in enumerate(values if isinstance(values, list) else []):
        if isinstance(item, Mapping) and len(item) == 1:
            ((name, options),) = item.items()
            yield f"{path}.{index}.{name}", name, options if isinstance(options, Mapping) else {}


def _terms(config: Any) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """All losses and metrics."""
    for section in ("Loss", "Metric"):
        for split in ("Train", "Eval"):
            yield from listed(config, f"{section}.{split}")


def _no_evaluations(config: Mapping[str, Any]) -> str | None:
    """What would make a training evaluate, if it does not."""
    if at(config, "DataLoader.Train") is not None and at(config, "DataLoader.Eval") is None:
        return "give DataLoader.Eval"
    return "set Global.eval_during_train to True" if at(config, "Global.eval_during_train") is False else None


def _schedule(config: Mapping[str, Any]) -> Iterator[Problem]:
    epochs, warmup = at(config, "Global.epochs"), at(config, "Optimizer.lr.warmup_epoch")
    if accepts(epochs, int) and accepts(warmup, float) and warmup >= epochs > 0:
        yield Problem("Optimizer.lr.warmup_epoch", f"expected less than Global.epochs ({epochs}), got {warmup}")
    mend = _no_evaluations(config)
    if mend and at(config, "Optimizer.lr.name") == "ReduceOnPlateau":
        yield Problem("Optimizer.lr.name", f"ReduceOnPlateau needs evaluations; {mend}")
    rate, floor = at(config, "Optimizer.lr.learning_rate"), at(config, "Optimizer.lr.eta_min")
    if accepts(rate, float) and accepts(floor, float) and floor >= rate > 0:
        yield Problem("Optimizer.lr.eta_min", f"expected less than learning_rate ({rate}), got {floor}")


def _steps(config: Mapping[str, Any]) -> Iterator[Problem]:
    freq, batches = at(config, "Global.update_freq"), at(config, "Global.iter_per_epoch")
    if accepts(freq, int) and accepts(batches, int) and freq > 0 and batches % freq:
        expected = f"a multiple of Global.update_freq ({freq}), so that an epoch ends with a whole step"
        yield Problem("Global.iter_per_epoch", f"expected {expected}, got {batches}")
    mend = _no_evaluations(config)
    if mend and at(config, "Global.early_stopping") is not None:
        yield Problem("Global.early_stopping", f"it needs evaluations; {mend}")


def _shapes(config: Mapping[str, Any]) -> Iterator[Problem]:
    shape = at(config, "Global.image_shape")
    channels = shape[0] if accepts(shape, list[int]) and shape else None
    for path in ("Global.image_channel", "Arch.input_image_channel"):
        given = at(config, path)
        if channels is not None and accepts(given, int) and given != channels:
            yield Problem(path, f"expected the channels of Global.image_shape ({channels}), got {given}")


def _decay(config: Mapping[str, Any]) -> Iterator[Problem]:
    name, regularizer = at(config, "Optimizer.name"), at(config, "Optimizer.regularizer")
    if name in ("AdamW", "AdamWDL") and regularizer is not None:
        text = f"expected Optimizer.weight_decay for {name}, which decays apart from the gradient"
        yield Problem("Optimizer.regularizer", f"{text}, got {show(regularizer)}")


def _weights(config: Mapping[str, Any]) -> Iterator[Problem]:
    if at(config, "Arch.use_ssld") is True and at(config, "Arch.pretrained") in (None, False):
        text = "expected Arch.pretrained to be true, since these are weights of PaddleClas's distillation"
        yield Problem("Arch.use_ssld", f"{text}, got {show(at(config, 'Arch.pretrained'))}")


def _classes(config: Mapping[str, Any]) -> Iterator[Problem]:
    """What names a number of classes must name that of the network."""
    count = at(config, "Arch.class_num")
    if not accepts(count, int):
        return
    if count > MAX_CLASSES:
        why = "since the last layer of the network has a row of weights for each class"
        yield Problem("Arch.class_num", f"expected at most {MAX_CLASSES}, {why}, got {count}")
        return
    for path, _, options in _terms(config):
        weights, topk = fitting(options.get("class_weights"), list[float]), options.get("topk")
        topk = fitting([topk] if accepts(topk, int) else topk, list[int])
        if weights is not None and len(weights) != count:
            expected = f"expected {count} weights, one a class (Arch.class_num)"
            yield Problem(f"{path}.class_weights", f"{expected}, got {len(weights)}")
        if topk and min(topk) > count:
            yield Problem(f"{path}.topk", f"expected at most {count} (Arch.class_num), got {topk}")
    if count == 1 and at(config, "Global.use_multilabel") is not True:
        expected = "expected 2 or more, since of a single class the probability is always 1"
        yield Problem("Arch.class_num", f"{expected} (Global.use_multilabel is for yes or no), got 1")
    own = at(config, "Global.class_names")
    if accepts(own, list[str]) and own and len(own) > count:
        yield Problem("Global.class_names", f"expected at most {count} names (Arch.class_num), got {len(own)}")
    names = at(config, "Infer.PostProcess.label_list")
    if accepts(names, list[str]) and names and len(names) != count:
        expected = f"expected {count} names, one a class (Arch.class_num)"
        yield Problem("Infer.PostProcess.label_list", f"{expected}, got {len(names)}")


def _relabel(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Lists whose numbers become names."""
    path = "DataLoader.{}.dataset"
    train, evaluation = (at(config, path.format(split)) for split in ("Train", "Eval"))
    if isinstance(train, Mapping) and isinstance(evaluation, Mapping) and train.get("name") == evaluation.get("name"):
        expected, received = (bool(section.get("relabel")) for section in (train, evaluation))
        if expected != received:
            text = f"expected {show(expected)}, as {path.format('Train')} has it, got {show(received)}"
            yield Problem(f"{path.format('Eval')}.relabel", text)


def _labels(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Several labels an image: the data, the loss, the metrics and the answers must agree."""
    several = at(config, "Global.use_multilabel") is True
    datasets = [f"DataLoader.{split}.dataset" for split in ("Train", "Eval")]
    found = [(f"{path}.name", at(config, f"{path}.name")) for path in datasets]
    found += [(path, name) for path, name, _ in listed(config, "Loss.Train")]
    found += [(path, name) for path, name, _ in listed(config, "Loss.Eval")]
    found.append(("Infer.PostProcess.name", at(config, "Infer.PostProcess.name")))
    if not several:
        for path, name in found:
            if isinstance(name, str) and name in SEVERAL_LABELS:
                yield Problem(path, f"{name} is for several labels an image: set Global.use_multilabel to True")
        return
    for path in datasets:
        name = at(config, f"{path}.name")
        if isinstance(name, str) and name != "MultiLabelDataset":
            text = "expected MultiLabelDataset, since Global.use_multilabel is set"
            yield Problem(f"{path}.name", f"{text}, got {name}")
        if at(config, f"{path}.batch_transform_ops"):
            text = "expected none, since they mix images of one label each and Global.use_multilabel is set"
            yield Problem(
                f"{path}.batch_transform_ops", f"{text}, got {show(at(config, f'{path}.batch_transform_ops'))}"
            )
    for path, name, _ in _terms(config):
        if name in ONE_LABEL:
            mend = "MultiLabelLoss" if path.startswith("Loss") else "AccuracyScore, HammingDistance or MultiLabelMAP"
            yield Problem(path, f"expected {mend}, since Global.use_multilabel is set, got {name}")


def _outputs(config: Mapping[str, Any]) -> Iterator[Problem]:
    """GoogLeNet answers three outputs, which only its own loss and metric take."""
    arch = at(config, "Arch.name")
    if not isinstance(arch, str):
        return
    for path, name, _ in _terms(config):
        own = SEVERAL_OUTPUTS[path.split(".")[0]]
        if arch == "GoogLeNet" and name != own:
            yield Problem(path, f"expected {own}, since GoogLeNet has three outputs, got {name}")
        elif arch != "GoogLeNet" and name == own:
            yield Problem(path, f"expected a network with three outputs (GoogLeNet) for {name}, got {arch}")


def _networks(config: Mapping[str, Any]) -> Iterator[Problem]:
    """The networks of a distillation, and what refers to them."""
    names = _network_names(config)
    if names is None:
        return
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        received = f"{twice[0]!r} twice" if twice else "none"
        yield Problem("Arch.models", f"expected networks of different names, got {received}")
    for key in ("pretrained_list", "freeze_params_list"):
        values = at(config, f"Arch.{key}")
        if isinstance(values, list) and len(values) != len(names):
            yield Problem(f"Arch.{key}", f"expected {len(names)} entries, one a network, got {len(values)}")
    for key in ("pretrained", "use_ssld", "freeze"):
        if key in config["Arch"] and config["Arch"][key]:
            yield Problem(f"Arch.{key}", "expected it of each network, in Arch.models, got it of the whole")
    for path, name, options in listed(config, "Arch.models"):
        if not name.isidentifier():
            yield Problem(path, f"expected a name of letters, digits and underscores, got {show(name, bare=True)}")
        if options.get("name") in (DISTILLATION, "GoogLeNet"):
            yield Problem(f"{path}.name", f"expected a network with one output, got {options['name']}")
    used = [("Arch.infer_model_name", at(config, "Arch.infer_model_name") or "Student")]
    if at(config, "Infer.PostProcess.name") == "DistillationPostProcess":
        used.append(("Infer.PostProcess.model_name", at(config, "Infer.PostProcess.model_name") or "Student"))
    for path, _, options in _terms(config):
        used += [(f"{path}.{key}", options[key]) for key in ("model_key",) if key in options]
        for key in ("model_name_pairs", "model_names"):
            used += [(f"{path}.{key}", name) for name in _flat(options.get(key))]
    for path, name in used:
        if isinstance(name, str) and name not in names:
            yield Problem(path, f"expected the name of a network in Arch.models, got {name!r}{suggestion(name, names)}")
    taught = {name for _, _, options in listed(config, "Loss.Train") for name in _learners(options)}
    given = at(config, "Arch.freeze_params_list")
    frozen = [False] * len(names) if given is None else given
    if not taught or not accepts(frozen, list[bool]) or len(frozen) != len(names):
        return
    for name, is_frozen in zip(names, frozen, strict=True):
        if is_frozen == (name in taught):
            why = "which a loss in Loss.Train teaches" if is_frozen else "which no loss in Loss.Train teaches"
            expected = f"expected {show(not is_frozen)} for {name}, {why}"
            yield Problem("Arch.freeze_params_list", f"{expected}, got {show(is_frozen)}")


def _learners(options: Mapping[str, Any]) -> Iterator[str]:
    """The networks that a loss of these options teaches."""
    yield from (pair[0] for pair in fitting(options.get("model_name_pairs"), list[list[str]]) or [] if pair)
    yield from fitting(options.get("model_names"), list[str]) or []


def _distilled(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Losses and metrics of several networks go with several networks, and only they."""
    arch = at(config, "Arch.name")
    if not isinstance(arch, str):
        return
    terms = list(_terms(config))
    if at(config, "Infer.PostProcess.name") == "DistillationPostProcess" and arch != DISTILLATION:
        terms.append(("Infer.PostProcess.name", "DistillationPostProcess", {}))
    for path, name, _ in terms:
        if not isinstance(name, str):
            continue
        if arch == DISTILLATION and not name.startswith("Distillation"):
            kinds = "DistillationCELoss or DistillationGTCELoss" if path.startswith("Loss") else "DistillationTopkAcc"
            yield Problem(path, f"expected {kinds}, which name the networks they are about, got {name}")
        elif arch != DISTILLATION and name.startswith("Distillation"):
            yield Problem(path, f"expected Arch.name {DISTILLATION} for {name}, got {arch}")


def _network_names(config: Mapping[str, Any]) -> list[str] | None:
    """The names in `Arch.models`; None where they are not to be had."""
    models = at(config, "Arch.models")
    if at(config, "Arch.name") != DISTILLATION or not isinstance(models, list):
        return None
    names = [name for _, name, _ in listed(config, "Arch.models")]
    whole = len(names) == len(models) and all(isinstance(name, str) for name in names)
    return names if whole else None


def _flat(value: Any) -> Iterator[Any]:
    for item in value if isinstance(value, list) else []:
        yield from item if isinstance(item, list) else [item]
