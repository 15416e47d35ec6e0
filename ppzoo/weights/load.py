"""Load weights into a network: strictly, unless the caller allows exceptions.

Everything is checked before the network is changed.
"""

from __future__ import annotations

import copy
import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ppzoo.errors import ConfigError, WeightsError, with_article
from ppzoo.files import require_path
from ppzoo.weights.key_aliases import best_key_aliases
from ppzoo.weights.load_report import MIN_SIMILARITY, LoadReport, Shape, best_fit
from ppzoo.weights.weight_file import check_finite, check_variances, widen_bfloat16
from ppzoo.weights.weight_formats import read

if TYPE_CHECKING:
    import paddle

RGB_CHANNELS = 3
ARRAYS = "the given arrays"  # the name of a source that is not a file

Candidates = Callable[[int], Iterable[tuple[str, Mapping[str, Shape]]]]


def load_weights(
    model: paddle.nn.Layer,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    strict: bool = True,
    head: str = "auto",
    stem: str = "strict",
    skip: Sequence[str] = (),
    part: str = "",
    candidates: Candidates = lambda size: (),
) -> LoadReport:
    """Load the weights of `source` into `model`.

    Entries are matched by structured name, or by parameter name if more of these match (PaddleClas 1.x), and cast to
    the dtype of the parameter. Names that other PaddlePaddle projects use are recognized (see `key_aliases`). Entries
    that the network lacks are ignored if they match its `derived_entries`: they are computed from other entries, or
    belong to losses.

    Args:
        model: the network; its `head_layers` are the classifier head.
        source: path of a weight file (the suffix `.pdparams` is optional), URL of one, or arrays or tensors by name.
        strict: whether missing, unexpected or mismatched entries are an error; otherwise they are only reported. If no
            entry can be loaded, that is always an error.
        head: "auto": a head that differs only in the number of classes keeps the values of the network; "strict": such
            a head is mismatched.
        stem: "strict": kernels for images of another number of channels are mismatched; "auto": kernels for 3 channels
            are converted with `convert_channels`.
        skip: shell patterns of entries that are neither loaded nor reported as missing, unexpected or mismatched.
        part: prefix of the entries of one of several networks in `source`. If any entry has this prefix, only such
            entries are loaded, and the prefix is removed from their names.
        candidates: returns architectures of about the given number of parameters, as for `best_fit`; if the weights
            fit one of them better, the error names it. Called only if loading fails.

    Raises:
        WeightsError: the file cannot be read, does not fit, or contains invalid values; the network is unchanged.
        ConfigError: `model`, `head`, `stem` or `skip` is invalid, or `source` has another type.
    """
    for option, given in (("head", head), ("stem", stem)):
        if given not in ("auto", "strict"):
            raise ConfigError(f"{option}: expected 'auto' or 'strict', got {given!r}")
    if not hasattr(model, "state_dict"):
        raise ConfigError(f"model: expected a network (paddle.nn.Layer), got {model!r:.60}")
    state = model.state_dict()
    label, entries = _read_source(source)
    entries = {key.removeprefix(part): array for key, array in entries.items() if key.startswith(part)} or entries
    values, unexpected = _by_structured_name(entries, state)
    derived = getattr(model, "derived_entries", ())
    unexpected = [key for key in unexpected if not any(fnmatch.fnmatchcase(key, pattern) for pattern in derived)]
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    converted = _convert_stem(values, tuple(getattr(model, "stem_paths", ())), shapes) if stem == "auto" else {}
    report = _compare(label, {key: value.shape for key, value in values.items()}, unexpected, shapes, skip)
    report.converted = {key: channels for key, channels in converted.items() if key in report.loaded}
    if head == "auto":
        _accept_other_class_num(report, tuple(getattr(model, "head_layers", ())), shapes)
    if not report.loaded or (strict and not report.complete):
        head_layers = tuple(getattr(model, "head_layers", ()))
        error = _misfit_error(report, _network_name(model), head_layers, entries, shapes, candidates)
        raise _fused_error(report, model, entries) or error
    check_variances({key: values[key] for key in report.loaded}, label)
    ready = {key: _cast(values[key], state[key], key, label) for key in report.loaded}
    for key, tensor in ready.items():
        state[key].set_value(tensor)
    return report


def _read_source(source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
    """Return the name of the source for error messages, and its arrays."""
    if not isinstance(source, Mapping):
        path = require_path(source, "source", "the path of a weight file (str or Path), a URL or arrays by name")
        return path, read(path).arrays
    arrays = {}
    for key, value in source.items():
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        if array.dtype.kind not in "fiub":
            raise WeightsError(f"entry {key!r}: expected an array of numbers, got {with_article(type(value).__name__)}")
        arrays[key] = widen_bfloat16(array)
    check_finite(arrays, ARRAYS)
    return ARRAYS, arrays


def _by_structured_name(
    entries: dict[str, np.ndarray], state: Mapping[str, paddle.Tensor]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the entries by the network's structured names, and the file's names of those that the network lacks."""
    names = {key: tensor.name for key, tensor in state.items()}
    if len(entries.keys() & set(names.values())) > len(entries.keys() & names.keys()):
        values = {key: entries[name] for key, name in names.items() if name in entries}
        return values, [name for name in entries if name not in names.values()]
    file_names = best_key_aliases(entries, names)
    values = {key: entries[file_names[key]] for key in names if key in file_names}
    return values, [name for key, name in file_names.items() if key not in names]


def _compare(
    label: str, found: Mapping[str, Shape], unexpected: list[str], expected: Mapping[str, Shape], skip: Sequence[str]
) -> LoadReport:
    """Compare the shapes in the file with those of the network; the classifier head is treated like the rest."""
    if isinstance(skip, str):
        raise ConfigError(f"skip: expected a list of patterns, got {skip!r}; write [{skip!r}]")
    for pattern in skip:
        if not fnmatch.filter([*expected, *unexpected], pattern):
            raise ConfigError(f"skip: pattern {pattern!r} matches no entry of the network or the weights")

    def skipped(key: str) -> bool:
        return any(fnmatch.fnmatchcase(key, pattern) for pattern in skip)

    report = LoadReport(label, unexpected=[key for key in unexpected if not skipped(key)])
    for key, shape in expected.items():
        if skipped(key):
            report.skipped.append(key)
        elif key not in found:
            report.missing.append(key)
        elif found[key] != shape:
            report.mismatched[key] = found[key], shape
        else:
            report.loaded.append(key)
    return report


def _accept_other_class_num(report: LoadReport, head_layers: tuple[str, ...], shapes: Mapping[str, Shape]) -> None:
    """Move head layers that differ only in the number of classes from `mismatched` to `reinitialised`.

    Either all entries of a layer are moved, or none.
    """
    for layer in head_layers:
        keys = [key for key in shapes if key.startswith(f"{layer}.")]
        if keys and all(key in report.mismatched and _differs_in_classes(*report.mismatched[key]) for key in keys):
            for key in keys:
                del report.mismatched[key]
                report.reinitialised.append(key)


def convert_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Convert a kernel for RGB images, out x 3 x H x W, to one for images of `channels` channels.

    One channel: the sum over the three channels, so that the output for a gray image equals that for the RGB image with
    three equal channels. Other numbers: the three channels are repeated in order and scaled by 3 / `channels`, so that
    the outputs keep their magnitude.
    """
    if channels == 1:
        return kernel.sum(axis=1, keepdims=True)
    return kernel[:, np.arange(channels) % RGB_CHANNELS] * np.asarray(RGB_CHANNELS / channels, kernel.dtype)


def _convert_stem(
    values: dict[str, np.ndarray], stem: tuple[str, ...], shapes: Mapping[str, Shape]
) -> dict[str, tuple[int, int]]:
    """Convert the kernels in `values` that are for RGB images to the channels of the network's images.

    Returns:
        entry -> (channels in the file, channels of the network) of the converted kernels.
    """
    converted = {}
    for key in (f"{path}.weight" for path in stem):
        found, expected = values[key].shape if key in values else (), shapes.get(key, ())
        if len(found) == len(expected) == 4 and found[1] == RGB_CHANNELS != expected[1]:
            values[key] = convert_channels(values[key], expected[1])
            converted[key] = RGB_CHANNELS, expected[1]
    return converted


def _differs_in_classes(found: Shape, expected: Shape) -> bool:
    """Whether two shapes of a head's tensor differ at most in the number of classes.

    The axis of the classes is the last one of a linear layer's weight (in x out), and the first one of a bias or of a
    kernel (out x in x H x W).
    """
    if len(found) != len(expected) or not expected:
        return False
    axis = 1 if len(expected) == 2 else 0
    return found[:axis] == expected[:axis] and found[axis + 1 :] == expected[axis + 1 :]


def _network_name(model: paddle.nn.Layer) -> str:
    """Return the architecture of a network, or the name of its class if the network is not one of ppzoo's."""
    return getattr(model, "architecture", "") or type(model).__name__


def _misfit_error(
    report: LoadReport,
    network: str,
    head_layers: tuple[str, ...],
    entries: Mapping[str, np.ndarray],
    shapes: Mapping[str, Shape],
    candidates: Candidates,
) -> WeightsError:
    found = {key: value.shape for key, value in entries.items()}
    size = sum(value.size for value in entries.values())
    best, this = best_fit(found, candidates(size)), best_fit(found, [(network, shapes)])
    verb = "do" if report.source == ARRAYS else "does"
    message = f"{report.source} {verb} not fit {network}: {report.problems() or 'there are no entries to load'}"
    if best and best[1] > max(MIN_SIMILARITY, this[1] if this else 0.0):
        return WeightsError(f"{message}; the weights look like those of {best[0]}")
    if not report.loaded:
        return WeightsError(f"{message}; no entry matches")
    message += _describe_class_num(report, head_layers, shapes)
    hint = f"; use ppzoo.load_weights(..., strict=False) to load the {len(report.loaded)} entries that match"
    return WeightsError(message, python_hint=hint)


def _fused_error(report: LoadReport, model: paddle.nn.Layer, entries: Mapping[str, np.ndarray]) -> WeightsError | None:
    """Return the error for weights of the network after `fuse`, which lack the branches; None for other weights."""
    if not getattr(model, "has_branches", False):
        return None
    fused = copy.deepcopy(model).fuse().state_dict()
    if not fused.keys() <= entries.keys() or fused.keys() == model.state_dict().keys():
        return None
    message = f"{report.source}: expected the weights of {_network_name(model)} before fuse(), got fused ones"
    return WeightsError(message, python_hint="; call network.fuse() before loading them")


def _describe_class_num(report: LoadReport, head_layers: tuple[str, ...], shapes: Mapping[str, Shape]) -> str:
    """Return '; the weights are for N classes: ...' if they fit except for the number of classes, else ""."""
    rest = replace(report, mismatched=dict(report.mismatched), reinitialised=[])
    _accept_other_class_num(rest, head_layers, shapes)
    biases = [report.mismatched[key][0] for key in rest.reinitialised if len(shapes[key]) == 1]
    if not (rest.complete and biases):
        return ""
    return f"; the weights are for {biases[0][0]} classes: set class_num to {biases[0][0]}"


def _cast(value: np.ndarray, tensor: paddle.Tensor, key: str, label: str) -> paddle.Tensor:
    """Convert the value to the dtype of the tensor.

    Raises:
        WeightsError: the dtype cannot represent the values, or they are integers and the dtype is a floating-point one.
    """
    import paddle

    dtype = str(tensor.dtype).rpartition(".")[2]
    exact = paddle.to_tensor(value, place=tensor.place)
    if exact.dtype == tensor.dtype:
        return exact
    narrow = exact.astype(tensor.dtype)
    if dtype in ("float16", "bfloat16", "float32", "float64"):
        kind = "floating-point values"
        representable = value.dtype.kind == "f" and bool(paddle.isfinite(narrow).all())
    else:
        kind = "values"
        representable = np.array_equal(narrow.numpy(), value)
    if not representable:
        raise WeightsError(f"{label}: entry {key!r}: expected {kind} that {dtype} can represent, got {value.dtype}")
    return narrow
