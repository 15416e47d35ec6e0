"""Putting weights into a network: completely, or with every exception named by the caller.

Nothing changes in the network unless everything that will be loaded has been checked before.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppzoo.errors import ConfigError, WeightsError
from ppzoo.weights.key_aliases import best_key_aliases
from ppzoo.weights.read import read
from ppzoo.weights.report import LoadReport, Shape, best_fit
from ppzoo.weights.weight_file import check_finite, check_variances, widen_bfloat16

if TYPE_CHECKING:
    import paddle

Candidates = Callable[[int], Iterable[tuple[str, Mapping[str, Shape]]]]


def load_weights(
    model: paddle.nn.Layer,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    strict: bool = True,
    head: str = "auto",
    skip: Sequence[str] = (),
    part: str = "",
    candidates: Candidates = lambda size: (),
) -> LoadReport:
    """Give `model` the weights of `source`.

    Entries are matched by structured name, or by parameter name where more of those agree (PaddleClas 1.x), and cast
    to the parameter's dtype.

    Args:
        model: the network; layers named by its `head_layers` are its classifier head.
        source: path of a weight file (`.pdparams` may be left out), URL of one, or arrays or tensors by name.
        strict: missing, unexpected or mis-shaped entries are an error; otherwise they are only reported.
        head: "auto": a head that differs in nothing but the number of classes keeps the network's own values;
            "strict": it is mis-shaped.
        skip: shell patterns of structured names that are neither loaded nor missed.
        part: where names in `source` begin with it, those entries alone count, without it: one of several networks.
        candidates: answers architectures of about so many numbers, as `best_fit` takes them; one is named if the
            weights fit it better. Called only when loading fails.

    Raises:
        WeightsError: the file cannot be read, does not fit, or holds values that no network computes with; the
            network is then as it was.
        ConfigError: `head` or `skip` cannot be carried out.
    """
    if head not in ("auto", "strict"):
        raise ConfigError(f"head: expected 'auto' or 'strict', got {head!r}")
    state = model.state_dict()
    label, entries = _open(source)
    entries = {key.removeprefix(part): array for key, array in entries.items() if key.startswith(part)} or entries
    values, unexpected = _by_structured_name(entries, state)
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    report = _compare(label, {key: value.shape for key, value in values.items()}, unexpected, shapes, skip)
    if head == "auto":
        _excuse_head(report, tuple(getattr(model, "head_layers", ())), shapes)
    if not report.loaded or (strict and not report.complete):
        raise _misfit(report, type(model).__name__, entries, shapes, candidates)
    check_variances({key: values[key] for key in report.loaded}, label)
    ready = {key: _cast(values[key], state[key], key, label) for key in report.loaded}
    for key, tensor in ready.items():
        state[key].set_value(tensor)
    return report


def _open(source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
    """What errors call the source, and its arrays."""
    if not isinstance(source, Mapping):
        return str(source), read(source).arrays
    arrays = {}
    for key, value in source.items():
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        if array.dtype.kind not in "fiub":
            raise WeightsError(f"entry {key!r} is a {type(value).__name__}, expected an array of numbers")
        arrays[key] = widen_bfloat16(array)
    check_finite(arrays, "the arrays given")
    return "the arrays given", arrays


def _by_structured_name(
    entries: dict[str, np.ndarray], state: Mapping[str, paddle.Tensor]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The entries under the network's structured names, and the own names of those that it has no place for."""
    names = {key: tensor.name for key, tensor in state.items()}
    if len(entries.keys() & set(names.values())) > len(entries.keys() & names.keys()):
        values = {key: entries[name] for key, name in names.items() if name in entries}
        return values, [name for name in entries if name not in names.values()]
    own = best_key_aliases(entries, names)
    return {key: entries[own[key]] for key in names if key in own}, [own[key] for key in own if key not in names]


def _compare(
    label: str, found: Mapping[str, Shape], unexpected: list[str], wanted: Mapping[str, Shape], skip: Sequence[str]
) -> LoadReport:
    """What fits and what does not; a classifier head is nothing special yet."""
    if isinstance(skip, str):
        raise ConfigError(f"skip: expected a list of patterns, got the text {skip!r}; write [{skip!r}]")
    for pattern in skip:
        if not fnmatch.filter([*wanted, *unexpected], pattern):
            raise ConfigError(f"skip: the pattern {pattern!r} matches no entry of the network or the weights")

    def skipped(key: str) -> bool:
        return any(fnmatch.fnmatchcase(key, pattern) for pattern in skip)

    report = LoadReport(label, unexpected=[key for key in unexpected if not skipped(key)])
    for key, shape in wanted.items():
        if skipped(key):
            report.skipped.append(key)
        elif key not in found:
            report.missing.append(key)
        elif found[key] != shape:
            report.mismatched[key] = found[key], shape
        else:
            report.loaded.append(key)
    return report


def _excuse_head(report: LoadReport, head_layers: tuple[str, ...], shapes: Mapping[str, Shape]) -> None:
    """Move head layers of another number of classes, if that is all they differ in, from mismatched to reinitialised.

    A layer is re-initialized as a whole or not at all.
    """
    for layer in head_layers:
        keys = [key for key in shapes if key.startswith(f"{layer}.")]
        if keys and all(key in report.mismatched and _differs_in_classes(*report.mismatched[key]) for key in keys):
            for key in keys:
                del report.mismatched[key]
                report.reinitialised.append(key)


def _differs_in_classes(found: Shape, wanted: Shape) -> bool:
    """Whether two shapes of a head's tensor are equal but for the classes: the last axis of a linear layer's weight
    (in x out), the first one of a bias or a filter (out x in x H x W)."""
    if len(found) != len(wanted) or not wanted:
        return False
    axis = 1 if len(wanted) == 2 else 0
    return found[:axis] == wanted[:axis] and found[axis + 1 :] == wanted[axis + 1 :]


def _misfit(
    report: LoadReport,
    network: str,
    entries: Mapping[str, np.ndarray],
    shapes: Mapping[str, Shape],
    candidates: Candidates,
) -> WeightsError:
    found = {key: value.shape for key, value in entries.items()}
    size = sum(value.size for value in entries.values())
    best, own = best_fit(found, candidates(size)), best_fit(found, [(network, shapes)])
    message = f"{report.source} does not fit {network}: {report.problems() or 'it has nothing to load'}"
    if best and best[1] > (own[1] if own else 0.0):
        return WeightsError(f"{message}; this looks like {best[0]}")
    if not report.loaded:
        return WeightsError(f"{message}; no entry fits")
    hint = f"; ppzoo.load_weights(..., strict=False) loads the {len(report.loaded)} entries that fit"
    return WeightsError(message, python_hint=hint)


def _cast(value: np.ndarray, tensor: paddle.Tensor, key: str, label: str) -> paddle.Tensor:
    """The value in the tensor's dtype.

    Raises:
        WeightsError: it holds numbers that the dtype cannot.
    """
    import paddle

    dtype = str(tensor.dtype).rpartition(".")[2]
    exact = paddle.to_tensor(value, place=tensor.place)
    if exact.dtype == tensor.dtype:
        return exact
    narrow = exact.astype(tensor.dtype)
    if dtype in ("float16", "bfloat16", "float32", "float64"):
        kept = value.dtype.kind == "f" and bool(paddle.isfinite(narrow).all())
    else:
        kept = np.array_equal(narrow.numpy(), value)
    if not kept:
        raise WeightsError(f"{label}: entry {key!r} holds {value.dtype} values that do not fit the network's {dtype}")
    return narrow
