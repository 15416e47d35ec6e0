"""A PyTorch network's arrays as ours: other names, other layouts, and what only one of the two has.

What comes out makes our network compute what the other one computes, in evaluation, to rounding:

- a linear layer's weight is transposed (PyTorch: out x in; PaddlePaddle: in x out);
- a linear layer behind a dropout that scales by (1 - rate) in evaluation is divided by (1 - rate), which makes the two
  equal in training as well;
- a layer that the other network does not have becomes the identity. Its norm is one that has learned to change
  nothing; training takes its statistics from the batch, and leaves the identity, unless it is frozen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppzoo.errors import WeightsError
from ppzoo.weights.report import LoadReport, Shape, best_fit
from ppzoo.weights.torch_import.dialects import NamingScheme

if TYPE_CHECKING:
    import paddle

# Ours -> PyTorch's.
SUFFIXES = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}
WRAPPER = "module."  # put before all names by torch.nn.DataParallel
ALIKE = 0.9  # share of equal entries above which a file is taken to be an architecture's
COUNTER = "num_batches_tracked"  # what only PyTorch's batch norm keeps, and evaluation does not read


@dataclass(frozen=True)
class EntryNames:
    """Where a network's entries are in the files of a dialect.

    Attributes:
        shapes: our entry -> its shape.
        foreign: our entry -> the file's; entries of `identities` aside.
        identities: our layers that must compute the identity.
        heads: the file's entries of the classifier, whose first axis is the classes.
    """

    shapes: dict[str, Shape]
    foreign: dict[str, str]
    identities: list[str]
    heads: set[str]

    @property
    def foreign_shapes(self) -> dict[str, Shape]:
        """The shapes of the file's entries: a linear weight is out x in there."""
        shapes = {name: self.shapes[key] for key, name in self.foreign.items()}
        return {name: shape[::-1] if len(shape) == 2 else shape for name, shape in shapes.items()}


@dataclass(frozen=True)
class Translation:
    """Every entry of a network by its structured name, and what its user should know."""

    arrays: dict[str, np.ndarray]
    notes: list[str]


def normalize_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays without counters and wrappers; those of torchvision's older DenseNets (`norm.1`) named as today."""
    entries = {name: array for name, array in arrays.items() if name.rpartition(".")[2] != COUNTER}
    wrapped = all(name.startswith(WRAPPER) for name in entries)
    plain = {}
    for name, array in entries.items():
        name = name.removeprefix(WRAPPER) if wrapped else name
        plain[re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2", name)] = array
    if len(plain) != len(entries):
        raise WeightsError("the file has a dense layer's entries twice, under their older and their newer names")
    return plain


def locate_entries(network: paddle.nn.Layer, dialect: NamingScheme) -> EntryNames:
    """Where `network`'s entries are; the dialect is one that has names."""
    if dialect.layers is None:
        raise ValueError(f"{dialect.origins[0]} has no names to look for")
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in shapes))
    names = dialect.layers(layers)
    foreign = {}
    for key in shapes:
        layer, _, kind = key.rpartition(".")
        if names[layer] is not None:
            foreign[key] = f"{names[layer]}.{SUFFIXES[kind]}"
    identities = [layer for layer in layers if names[layer] is None]
    head_layers = tuple(f"{layer}." for layer in getattr(network, "head_layers", ()))
    return EntryNames(
        shapes, foreign, identities, {name for key, name in foreign.items() if key.startswith(head_layers)}
    )


def translate(
    entries: Mapping[str, np.ndarray],
    network: paddle.nn.Layer,
    dialect: NamingScheme,
    *,
    architecture: str,
    source: object,
    candidates: Iterable[tuple[str, paddle.nn.Layer]] = (),
) -> Translation:
    """The arrays of `plain_names` by the structured names of `network`, each of its entries filled.

    The classifier may have another number of classes than the network.

    Args:
        architecture: what errors call the network.
        source: what errors call the file.
        candidates: architectures of the dialect, one of which is named if the file fits it better; read only then.

    Raises:
        WeightsError: no weights make the network compute the other one, or the file does not fit.
    """
    zeros = {name for name in entries if dialect.zeros and re.fullmatch(dialect.zeros, name)}
    if dialect.layers is None or any(entries[name].any() for name in zeros):
        raise WeightsError(f"{source} cannot be {architecture}: {dialect.origins[0]}'s network {dialect.refusal}")
    where = locate_entries(network, dialect)
    kept = {name: array for name, array in entries.items() if name not in zeros}
    report = _compare(kept, where, str(source))
    if not report.complete:
        message = f"{source} does not fit {architecture}: {report.problems()}"
        raise WeightsError(message + _better_fit(kept, where, dialect, candidates))

    layers = dict(network.named_sublayers())
    arrays = {key: _in_our_layout(kept[name], len(where.shapes[key])) for key, name in where.foreign.items()}
    notes = [dialect.note] if dialect.note else []
    if zeros:
        notes.append(f"{len(zeros)} biases were left out, for they are zero and the network has none")
    for layer, dropout in dialect.dropouts.items():
        share = 1.0 - getattr(layers[dropout], "p", 0.0)
        weight = arrays[f"{layer}.weight"]
        arrays[f"{layer}.weight"] = (weight / np.float64(share)).astype(weight.dtype)
        notes.append(f"{layer}.weight was divided by {share:g}, for {dropout} multiplies by it in evaluation")
    for layer in where.identities:
        arrays |= _identity(layer, where.shapes, layers[layer])
    if where.identities:
        named = ", ".join(where.identities)
        notes.append(f"{named} compute the identity, in training only if frozen; the file's network has no such layers")
    return Translation({key: arrays[key] for key in where.shapes}, notes)


def _compare(entries: Mapping[str, np.ndarray], where: EntryNames, label: str) -> LoadReport:
    """What of the file fits its place, by the file's names."""
    wanted = where.foreign_shapes
    report = LoadReport(label, unexpected=[name for name in entries if name not in wanted])
    for name, shape in wanted.items():
        if name not in entries:
            report.missing.append(name)
        elif not _same_shape(entries[name].shape, shape, any_classes=name in where.heads):
            report.mismatched[name] = entries[name].shape, shape
        else:
            report.loaded.append(name)
    return report


def _same_shape(found: Shape, wanted: Shape, *, any_classes: bool) -> bool:
    """Whether a file's entry has its shape; the first axis of a head's entry, its classes, is free.

    A convolution that sees the whole map may stand for a linear layer.
    """
    if len(wanted) == 2 and len(found) == 4:
        found = (found[0], math.prod(found[1:]))
    return len(found) == len(wanted) and found[any_classes:] == wanted[any_classes:]


def _in_our_layout(value: np.ndarray, axes: int) -> np.ndarray:
    return np.ascontiguousarray(value.reshape(len(value), -1).T) if axes == 2 else value


def _identity(layer: str, shapes: Mapping[str, Shape], made: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """Entries that make a 1x1 convolution, or a batch norm, hand on what it is given.

    The norm divides by sqrt(variance + epsilon), which the variance makes 1.
    """
    shape = shapes[f"{layer}.weight"]
    if f"{layer}._mean" not in shapes:
        return {f"{layer}.weight": np.eye(shape[0], dtype=np.float32).reshape(shape)}
    values = {"weight": 1.0, "bias": 0.0, "_mean": 0.0, "_variance": 1.0 - made._epsilon}
    return {f"{layer}.{kind}": np.full(shape, value, np.float32) for kind, value in values.items()}


def _better_fit(
    entries: Mapping[str, np.ndarray],
    where: EntryNames,
    dialect: NamingScheme,
    candidates: Iterable[tuple[str, paddle.nn.Layer]],
) -> str:
    """'; this looks like NAME' if nearly all names and shapes below the head are those of another architecture."""

    def body(places: EntryNames) -> dict[str, Shape]:
        return {name: shape for name, shape in places.foreign_shapes.items() if name not in places.heads}

    found = {name: array.shape for name, array in entries.items() if name not in where.heads}
    own = best_fit(found, [("", body(where))]) or ("", 0.0)
    best = best_fit(found, ((name, body(locate_entries(network, dialect))) for name, network in candidates)) or (
        "",
        0.0,
    )
    return f"; this looks like {best[0]}" if best[1] > max(own[1], ALIKE) else ""
