"""Convert the arrays of a PyTorch network to those of ppzoo's network.

ppzoo's network then has the same outputs in evaluation, up to rounding. Besides the names, these values change:

- the weight of a linear layer is transposed (PyTorch: out x in; PaddlePaddle: in x out);
- the weight of a linear layer after a dropout that scales by (1 - rate) in evaluation is divided by (1 - rate), which
  makes the two networks equal in training as well;
- the weight of the queries of attention is multiplied by sqrt(heads): PaddleClas's MobileNetV4 divides the scores by
  the square root of the width of all heads together, timm's by that of one head;
- a layer that the PyTorch network does not have becomes the identity. In training, its batch norm normalizes by the
  statistics of the batch, so that the layer is no longer the identity, unless it is frozen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppzoo.errors import WeightsError
from ppzoo.weights.load_report import MIN_SIMILARITY, LoadReport, Shape, best_fit
from ppzoo.weights.torch_import.naming_schemes import NamingScheme

if TYPE_CHECKING:
    import paddle

# PaddlePaddle's name of a tensor -> PyTorch's.
SUFFIXES = {
    "weight": "weight",
    "bias": "bias",
    "_mean": "running_mean",
    "_variance": "running_var",
    "scale": "scale",
    "gamma": "gamma",
}
WRAPPER = "module."  # prefix that torch.nn.DataParallel adds to all names
COUNTER = "num_batches_tracked"  # exists in PyTorch's batch norm only, and is not used in evaluation


@dataclass(frozen=True)
class EntryNames:
    """The names of a network's entries in files with one naming scheme.

    Attributes:
        shapes: entry of ppzoo's network -> its shape.
        torch_names: entry of ppzoo's network -> the entry in the file; without the entries of `identities`.
        identities: layers of ppzoo's network that must compute the identity.
        heads: the file's entries of the classifier; the size of their first axis is the number of classes.
    """

    shapes: dict[str, Shape]
    torch_names: dict[str, str]
    identities: list[str]
    heads: set[str]

    @property
    def torch_shapes(self) -> dict[str, Shape]:
        """The shapes of the file's entries, where a linear weight is out x in."""
        shapes = {name: self.shapes[key] for key, name in self.torch_names.items()}
        return {name: shape[::-1] if len(shape) == 2 else shape for name, shape in shapes.items()}


@dataclass(frozen=True)
class Translation:
    """All entries of a network by structured name, and notes for the user."""

    arrays: dict[str, np.ndarray]
    notes: list[str]


def normalize_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove batch counters and prefixes, and rename entries of older torchvision DenseNets (`norm.1` to `norm1`)."""
    entries = {name: array for name, array in arrays.items() if name.rpartition(".")[2] != COUNTER}
    wrapped = all(name.startswith(WRAPPER) for name in entries)
    plain = {}
    for name, array in entries.items():
        name = name.removeprefix(WRAPPER) if wrapped else name
        plain[re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2", name)] = array
    if len(plain) != len(entries):
        raise WeightsError("the file contains a dense layer's entries twice, under their older and their newer names")
    return plain


def locate_entries(network: paddle.nn.Layer, scheme: NamingScheme) -> EntryNames:
    """Return the names of `network`'s entries in a naming scheme that can be converted."""
    if scheme.layers is None:
        raise ValueError(f"the naming scheme of {scheme.origins[0]} has no layer names")
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in shapes))
    layer_names = scheme.layers(layers)
    torch_names = {}
    for key in shapes:
        layer, _, kind = key.rpartition(".")
        if layer_names[layer] is not None:
            torch_names[key] = f"{layer_names[layer]}.{SUFFIXES[kind]}"
    identities = [layer for layer in layers if layer_names[layer] is None]
    head_layers = tuple(f"{layer}." for layer in getattr(network, "head_layers", ()))
    return EntryNames(
        shapes, torch_names, identities, {name for key, name in torch_names.items() if key.startswith(head_layers)}
    )


def translate(
    entries: Mapping[str, np.ndarray],
    network: paddle.nn.Layer,
    scheme: NamingScheme,
    *,
    architecture: str,
    source: object,
    candidates: Iterable[tuple[str, paddle.nn.Layer]] = (),
) -> Translation:
    """Convert the arrays of `normalize_names` to arrays for all entries of `network`, by structured name.

    The number of classes can differ from the network's.

    Args:
        entries: the arrays of the file.
        network: ppzoo's network; only names and shapes are used.
        scheme: the naming scheme of the file.
        architecture: name of the network in error messages.
        source: name of the file in error messages.
        candidates: name and network of other architectures of the scheme. If the file fits one of them better, the
            error names that architecture.

    Raises:
        WeightsError: the network cannot reproduce the PyTorch network, or the file does not fit.
    """
    zeros = _matching(entries, scheme.zeros)
    has_negative = any((entries[name] < 0).any() for name in _matching(entries, scheme.not_negative))
    if scheme.layers is None or has_negative or any(entries[name].any() for name in zeros):
        raise WeightsError(
            f"{source} cannot be converted to {architecture}: {scheme.origins[0]}'s network {scheme.unsupported}"
        )
    names = locate_entries(network, scheme)
    entries = entries if scheme.add_branches is None else scheme.add_branches(entries)
    kept = {name: array for name, array in entries.items() if name not in zeros}
    report = _compare(kept, names, str(source))
    if not report.complete:
        message = f"{source} does not fit {architecture}: {report.problems()}"
        raise WeightsError(message + _better_fit(kept, names, scheme, candidates))

    layers = dict(network.named_sublayers())
    arrays = {key: _in_our_layout(kept[name], len(names.shapes[key])) for key, name in names.torch_names.items()}
    notes = [scheme.note] if scheme.note else []
    if zeros:
        biases = "bias" if len(zeros) == 1 else "biases"
        notes.append(f"skipped {len(zeros)} zero {biases}, which the network does not have")
    notes += _rescale(arrays, layers, scheme)
    for layer in names.identities:
        arrays |= _identity(layer, layers[layer], names.shapes)
    if names.identities:
        layer_list = ", ".join(names.identities)
        notes.append(
            f"{layer_list}: not in the file's network, initialized as the identity; to keep them the identity in"
            " training, freeze them"
        )
    return Translation({key: arrays[key] for key in names.shapes}, notes)


def _matching(entries: Mapping[str, np.ndarray], pattern: str | None) -> set[str]:
    """Return the entries whose complete name matches the pattern; none without a pattern."""
    return {name for name in entries if pattern is not None and re.fullmatch(pattern, name)}


def _rescale(arrays: dict[str, np.ndarray], layers: Mapping[str, paddle.nn.Layer], scheme: NamingScheme) -> list[str]:
    """Multiply weights by the factors in which the two networks differ, in place, and return notes for the user."""
    notes = []

    def multiply(layer: str, factor: float) -> None:
        weight = arrays[f"{layer}.weight"]
        arrays[f"{layer}.weight"] = (weight * np.float64(factor)).astype(weight.dtype)

    for layer, dropout in scheme.dropouts.items():
        share = 1.0 - getattr(layers[dropout], "p", 0.0)
        if share != 1.0:
            multiply(layer, 1.0 / share)
            notes.append(f"divided {layer}.weight by {share:g}, because {dropout} multiplies by it in evaluation")
    queries = [layer for layer in layers if scheme.queries and re.fullmatch(scheme.queries, layer)]
    for layer in queries:
        multiply(layer, math.sqrt(layers[layer.rpartition(".")[0]].heads))
    if queries:
        count = len(queries)
        notes.append(f"multiplied the weights of {count} query projections by the square root of the number of heads")
    return notes


def _compare(entries: Mapping[str, np.ndarray], names: EntryNames, label: str) -> LoadReport:
    """Compare the entries of the file with the expected ones, by the file's names."""
    expected = names.torch_shapes
    report = LoadReport(label, unexpected=[name for name in entries if name not in expected])
    for name, shape in expected.items():
        if name not in entries:
            report.missing.append(name)
        elif not _same_shape(entries[name].shape, shape, any_classes=name in names.heads):
            report.mismatched[name] = entries[name].shape, shape
        else:
            report.loaded.append(name)
    return report


def _same_shape(found: Shape, expected: Shape, *, any_classes: bool) -> bool:
    """Whether an entry of the file has the expected shape; `any_classes`: the size of the first axis is arbitrary.

    A convolution over the complete feature map is equivalent to a linear layer.
    """
    if len(expected) == 2 and len(found) == 4:
        found = (found[0], math.prod(found[1:]))
    return len(found) == len(expected) and found[any_classes:] == expected[any_classes:]


def _in_our_layout(value: np.ndarray, axes: int) -> np.ndarray:
    return np.ascontiguousarray(value.reshape(len(value), -1).T) if axes == 2 else value


def _identity(name: str, layer: paddle.nn.Layer, shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Return entries with which a 1x1 convolution or a batch norm computes the identity.

    The norm divides by sqrt(variance + epsilon); the variance is 1 - epsilon.
    """
    from ppzoo.paddle_internals import norm_epsilon

    shape = shapes[f"{name}.weight"]
    if f"{name}._mean" not in shapes:
        return {f"{name}.weight": np.eye(shape[0], dtype=np.float32).reshape(shape)}
    values = {"weight": 1.0, "bias": 0.0, "_mean": 0.0, "_variance": 1.0 - norm_epsilon(layer)}
    return {f"{name}.{kind}": np.full(shape, value, np.float32) for kind, value in values.items()}


def _better_fit(
    entries: Mapping[str, np.ndarray],
    names: EntryNames,
    scheme: NamingScheme,
    candidates: Iterable[tuple[str, paddle.nn.Layer]],
) -> str:
    """Return '; the weights look like those of NAME' if nearly all names and shapes match another architecture.

    The head is not compared.
    """

    def body(names: EntryNames) -> dict[str, Shape]:
        return {name: shape for name, shape in names.torch_shapes.items() if name not in names.heads}

    found = {name: array.shape for name, array in entries.items() if name not in names.heads}
    _, own_share = best_fit(found, [("", body(names))]) or ("", 0.0)
    bodies = ((name, body(locate_entries(network, scheme))) for name, network in candidates)
    best, share = best_fit(found, bodies) or ("", 0.0)
    return f"; the weights look like those of {best}" if share > max(own_share, MIN_SIMILARITY) else ""
