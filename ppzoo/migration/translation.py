"""Rewrite a configuration of PaddleClas so that ppzoo accepts it, and list what changes and why."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ppzoo.builders.preprocessing import find_missing_decoding
from ppzoo.config import Components, Config, check, find_unknown_keys, list_items
from ppzoo.config.component_uses import at
from ppzoo.config.hints import hint_at
from ppzoo.config.renamed import keys_to_rename
from ppzoo.config.type_checks import accepts, show
from ppzoo.config.unsupported import IGNORED_KEYS, find_other_kind, find_unsupported
from ppzoo.errors import ConfigError

# An unknown key in one of these sections, or anywhere below one of these keys, is an option of a component.
COMPONENTS_AT = ("Arch", "Optimizer", "Loss", "Metric", "Infer")
OUTPUT_KEYS = ("name", "dataset", "sampler", "transforms", "transform_ops", "batch_transform_ops", "PostProcess")
SOFT_LABELS = ("MixupOperator", "CutmixOperator", "OpSampler", "MixupCutmixHybrid", "FmixOperator")


class Change(NamedTuple):
    """One difference between PaddleClas's file and its translation, or between the behavior of both.

    Attributes:
        kind: "removed", "renamed", "rewritten"; "behavior" where the same key has another effect.
        key: path of the key in the configuration.
        reason: what ppzoo does, and why.
    """

    kind: str
    key: str
    reason: str

    def line(self) -> str:
        """Return the change as one line."""
        return f"{self.kind}: {self.key}: {self.reason}"


def translate(config: Mapping[str, Any], components: Components) -> tuple[dict[str, Any], list[Change]]:
    """Return the configuration as ppzoo accepts it, and the changes.

    Raises:
        ConfigError: all features and values that ppzoo does not support and whose removal would change the trained
            network.
    """
    translated = copy.deepcopy(dict(config))
    other_kind = find_other_kind(translated)
    if other_kind is not None:
        raise ConfigError(other_kind.line())
    changes = [
        *_rename(translated),
        *_rename_options(translated, components),
        *_remove_unknown(translated, components),
        *_evaluate_texts(translated, components),
        *_remove_unsupported(translated),
    ]
    problems = check(translated, components, task=None)
    if problems:
        raise ConfigError(*problems)
    changes += _add_decoding(translated, components)
    return translated, [*changes, *_describe_behavior(translated)]


def _rename(config: dict[str, Any]) -> Iterator[Change]:
    """Move and rename keys of earlier versions of PaddleClas."""
    section = config.get("Global")
    section = section if isinstance(section, dict) else {}
    yield from _rename_ema(config, section)
    yield from _rename_amp(config, section)
    arch = config["Arch"]
    if "class_num" in section and arch.get("class_num") is None:
        arch["class_num"] = section.pop("class_num")
        yield Change("renamed", "Global.class_num", "Arch.class_num, as in PaddleClas 2.2 and later")
    yield from _rename_metrics(config)
    yield from _rename_metrics_of_three_outputs(config)


def _rename_ema(config: dict[str, Any], section: dict[str, Any]) -> Iterator[Change]:
    ema = section.get("ema")
    if isinstance(ema, dict) and config.get("EMA") is None:
        del section["ema"]
        is_enabled = ema.pop("enable", True)
        if is_enabled:
            config["EMA"] = ema
        result = "the section EMA" if is_enabled else "no section, since it is disabled"
        yield Change("renamed", "Global.ema", f"{result}, as in PaddleClas 2.3 and later")


def _rename_amp(config: dict[str, Any], section: dict[str, Any]) -> Iterator[Change]:
    if isinstance(section.get("AMP"), dict) and config.get("AMP") is None:
        config["AMP"] = section.pop("AMP")
        yield Change("renamed", "Global.AMP", "the section AMP, as in PaddleClas 2.3 and later")
    amp = config.get("AMP")
    if not isinstance(amp, dict):
        return
    if "amp_level" in amp and "level" not in amp:
        amp["level"] = amp.pop("amp_level")
        yield Change("renamed", "AMP.amp_level", "AMP.level, as in PaddleClas 2.4 and later")
    if isinstance(amp.get("use_pure_fp16"), bool):
        is_pure = amp.pop("use_pure_fp16")
        amp.setdefault("level", "O2" if is_pure else "O1")
        yield Change("renamed", "AMP.use_pure_fp16", f"AMP.level ({amp['level']}), as in PaddleClas 2.4 and later")


def _rename_metrics(config: dict[str, Any]) -> Iterator[Change]:
    """Rename the metric `Topk: {k: ...}` of PaddleClas 2.0."""
    metrics = config.get("Metric")
    for split, terms in metrics.items() if isinstance(metrics, dict) else ():
        for term in terms if isinstance(terms, list) else ():
            if isinstance(term, dict) and list(term) == ["Topk"] and isinstance(term["Topk"], dict):
                options = term.pop("Topk")
                term["TopkAcc"] = {"topk" if key == "k" else key: value for key, value in options.items()}
                yield Change("renamed", f"Metric.{split}.Topk", "TopkAcc, as in PaddleClas 2.1 and later")


def _rename_metrics_of_three_outputs(config: dict[str, Any]) -> Iterator[Change]:
    """Use `GoogLeNetTopkAcc` for GoogLeNet, as PaddleClas's configurations do since 2.2."""
    metrics = config.get("Metric")
    if config["Arch"].get("name") != "GoogLeNet" or not isinstance(metrics, dict):
        return
    for split, terms in metrics.items():
        for term in terms if isinstance(terms, list) else ():
            if isinstance(term, dict) and list(term) == ["TopkAcc"]:
                term["GoogLeNetTopkAcc"] = term.pop("TopkAcc")
                reason = "GoogLeNetTopkAcc, since GoogLeNet has three outputs in evaluation, too"
                yield Change("renamed", f"Metric.{split}.TopkAcc", reason)


def _rename_options(config: dict[str, Any], components: Components) -> Iterator[Change]:
    """Rename the options that have other names in PaddleClas, such as `first_bs` of its multi-scale sampler."""
    for path, old, new in keys_to_rename(config, components):
        values = at(config, ".".join(path))
        values[new] = values.pop(old)
        yield Change("renamed", ".".join((*path, old)), new)


def _add_decoding(config: dict[str, Any], components: Components) -> list[Change]:
    """Add `DecodeImage` where files are read without it; PaddleClas 2.0 decoded them without a transform."""
    changes = []
    for path in find_missing_decoding(Config.parse(config, components, task=None)):
        key = path.partition(": ")[0]
        *holders, last = key.split(".")
        holder = config
        for part in holders:
            holder = holder[part]
        holder[last] = [{"DecodeImage": {"to_rgb": True, "channel_first": False}}, *(holder[last] or [])]
        changes.append(Change("rewritten", key, "DecodeImage is the first transform, since the images are files"))
    return changes


def _evaluate_texts(config: dict[str, Any], components: Components) -> list[Change]:
    """Replace texts such as 'None' by the values that PaddleClas reads them as, where ppzoo expects such a value."""
    changes: list[Change] = []
    for path, holder, slot in list(_texts(config, ())):
        text = holder[slot]
        found, value = _read_literal(text)
        if not found:
            continue
        hint = hint_at(config, path, components)
        if accepts(value, hint) and (value is None or not accepts(text, hint)):
            holder[slot] = value
            reason = f"{show(value)} instead of the text {text!r}, which YAML does not read as that value"
            changes.append(Change("rewritten", ".".join(path), reason))
    return changes


def _read_literal(text: str) -> tuple[bool, Any]:
    """Return whether a text is Python's or YAML's notation of null, a boolean or a number, and its value."""
    switches = {"true": True, "false": False, "null": None, "none": None}
    if text.lower() in switches:
        return True, switches[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False, None
    return isinstance(value, int | float), value


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield the path of each text, the mapping or list that holds it, and its key or index there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for slot, item in items:
        inner = (*path, str(slot))
        if isinstance(item, str):
            yield inner, value, slot
        else:
            yield from _texts(item, inner)


def _remove_unsupported(config: dict[str, Any]) -> list[Change]:
    changes = []
    for _, problem in list(find_unsupported(config)):
        _remove(config, tuple(problem.path.split(".")))
        changes.append(Change("removed", problem.path, problem.text.partition("; remove the key")[0]))
    return changes


def _remove_unknown(config: dict[str, Any], components: Components) -> list[Change]:
    """Remove unknown keys that change nothing about the network, its training and its data.

    Unknown options of components stay, so that they are reported as mistakes: without them the result would differ.
    """
    changes = []
    for path in find_unknown_keys(config, components):
        key = ".".join(path)
        reason = IGNORED_KEYS.get(key)
        if reason is None and not _is_of_component(path):
            reason = "not supported: ppzoo has no such key"
        if reason is not None:
            _remove(config, path)
            changes.append(Change("removed", key, reason))
    return changes


def _is_of_component(path: tuple[str, ...]) -> bool:
    return path[0] in COMPONENTS_AT or any(part in OUTPUT_KEYS for part in path[:-1])


def _remove(config: Any, path: tuple[str, ...]) -> None:
    for part in path[:-1]:
        config = config[int(part)] if isinstance(config, list) else config[part]
    del config[path[-1]]


def _describe_behavior(config: dict[str, Any]) -> list[Change]:
    """Return where ppzoo computes something else than PaddleClas with the same keys."""
    found = (describe(config) for describe in BEHAVIOR)
    return [Change("behavior", *row) for row in found if row is not None]


def _dali(config: Mapping[str, Any]) -> tuple[str, str] | None:
    if not (config.get("Global") or {}).get("use_dali"):
        return None
    return "Global.use_dali", "DALI is not supported; ppzoo's own loader reads the images"


def _single_loss_weight(config: Mapping[str, Any]) -> tuple[str, str] | None:
    terms = (config.get("Loss") or {}).get("Train") or []
    options = next(iter(terms[0].values())) if len(terms) == 1 else None
    weight = (options or {}).get("weight", 1.0)
    if weight in (1, None):
        return None
    return "Loss.Train.0", f"PaddleClas ignores the weight ({weight}) of a single loss; ppzoo multiplies by it"


def _soft_labels(config: Mapping[str, Any]) -> tuple[str, str] | None:
    terms = (config.get("Loss") or {}).get("Train") or []
    plain = any("CELoss" in term and not (term["CELoss"] or {}).get("epsilon") for term in terms)
    dataset = ((config.get("DataLoader") or {}).get("Train") or {}).get("dataset") or {}
    mixes = [name for op in dataset.get("batch_transform_ops") or () for name in op if name in SOFT_LABELS]
    if not (plain and mixes):
        return None
    reason = (
        f"the labels of {mixes[0]} are probabilities, of which PaddleClas computes a softmax if the loss has no"
        " epsilon; ppzoo uses them as they are"
    )
    return "Loss.Train", reason


def _piecewise(config: Mapping[str, Any]) -> tuple[str, str] | None:
    rates = (config.get("Optimizer") or {}).get("lr") or {}
    if rates.get("name") != "Piecewise" or rates.get("learning_rate") is None:
        return None
    reason = (
        "PaddleClas ignores `values` and `decay_epochs` if learning_rate is set, and divides by 10 every 30 epochs;"
        " ppzoo uses the values"
    )
    return "Optimizer.lr", reason


def _clip_norm(config: Mapping[str, Any]) -> tuple[str, str] | None:
    optimizer = config.get("Optimizer") or {}
    if optimizer.get("clip_norm") is None:
        return None
    reason = "PaddleClas clips the norm of each tensor; ppzoo clips the norm of all gradients together"
    fix = "for PaddleClas's clipping write `grad_clip: {name: ClipGradByNorm, clip_norm: ...}`"
    return "Optimizer.clip_norm", f"{reason}; {fix}"


def _top_k(config: Mapping[str, Any]) -> tuple[str, str] | None:
    classes = (config.get("Arch") or {}).get("class_num")
    terms = (config.get("Metric") or {}).get("Eval") or []
    options = next((term["TopkAcc"] or {} for term in terms if "TopkAcc" in term), None)
    if options is None or not isinstance(classes, int):
        return None
    given = options.get("topk") or [1, 5]
    too_large = [k for k in ([given] if isinstance(given, int) else given) if k > classes]
    if not too_large:
        return None
    return "Metric.Eval", f"PaddleClas reports 1.0 for top-{too_large[0]} of {classes} classes; ppzoo omits it"


def _sync_bn(config: Mapping[str, Any]) -> tuple[str, str] | None:
    if (config.get("Global") or {}).get("use_sync_bn") is not True:
        return None
    return "Global.use_sync_bn", "it has no effect, as in PaddleClas; set Arch.use_sync_bn to synchronize statistics"


def _clip_grad(config: Mapping[str, Any]) -> tuple[str, str] | None:
    if at(config, "Optimizer.clip_grad") is None:
        return None
    return "Optimizer.clip_grad", "it has no effect, as in PaddleClas; set Optimizer.clip_norm to clip gradients"


def _ema(config: Mapping[str, Any]) -> tuple[str, str] | None:
    section = config.get("EMA")
    if not isinstance(section, Mapping) or section.get("warmup") is not None:
        return None
    reason = "PaddleClas's decay is constant; ppzoo's rises to it in the first updates, unless `warmup: false` is set"
    return "EMA", reason


def _grid_mask(config: Mapping[str, Any]) -> tuple[str, str] | None:
    path = "DataLoader.Train.dataset.transform_ops"
    if all(name != "GridMask" for _, name, _ in list_items(config, path)):
        return None
    return path, "PaddleClas's GridMask changes no image, since its epoch is never set; ppzoo applies it with `prob`"


def _resume(config: Mapping[str, Any]) -> tuple[str, str] | None:
    if (config.get("Global") or {}).get("checkpoints") is None:
        return None
    reason = "PaddleClas does not restore the best metric, the random state or the step; ppzoo does"
    return "Global.checkpoints", reason


def _seed(config: Mapping[str, Any]) -> tuple[str, str] | None:
    if (config.get("Global") or {}).get("seed") is None:
        return None
    return "Global.seed", "in PaddleClas the order of the images does not depend on it; in ppzoo it does"


def _pretrained_head(config: Mapping[str, Any]) -> tuple[str, str] | None:
    arch = config.get("Arch") or {}
    if not arch.get("pretrained"):
        return None
    reason = (
        "PaddleClas only warns about weights that do not fit; in ppzoo they are an error, except for a head with"
        " another number of classes"
    )
    return "Arch.pretrained", reason


BEHAVIOR: tuple[Callable[[Mapping[str, Any]], tuple[str, str] | None], ...] = (
    _dali,
    _single_loss_weight,
    _soft_labels,
    _piecewise,
    _clip_norm,
    _clip_grad,
    _ema,
    _grid_mask,
    _top_k,
    _sync_bn,
    _resume,
    _seed,
    _pretrained_head,
)
