"""Weights of any origin, written anew for one architecture: what `ppzoo convert` does.

PyTorch's networks become ours by `ppzoo.weights.torch_import`: exactly, or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppzoo import models, weights
from ppzoo.errors import ConfigError, OutputError
from ppzoo.files import local_path
from ppzoo.layers import Classifier
from ppzoo.weights import torch_import

SUFFIXES = (".pdparams", ".safetensors")


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        source, target: the file that was read, and the one that was written.
        architecture: whose weights it holds now.
        origin: who named the entries of `source`: one of `torch_import.ORIGINS`.
        class_num: number of classes of the classifier.
        entries: number of arrays written.
        notes: what differs from a copy, and what the network's user should know.
    """

    source: str
    target: Path
    architecture: str
    origin: str
    class_num: int
    entries: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        what = f"{self.target}: {self.architecture} with {self.class_num} classes, {self.entries} entries"
        return "\n".join([f"{what}, from {self.source} as {self.origin} names them", *self.notes])


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], arch: str, origin: str | None = None
) -> Conversion:
    """Read weights, turn them into those of the architecture `arch` with the file's number of classes, write them.

    Args:
        source: whatever `ppzoo.weights.read` reads.
        target: a name that ends in `.pdparams`, or in `.safetensors`, which keeps architecture and origin as metadata.
        arch: name of the architecture.
        origin: one of `torch_import.ORIGINS`; told from the names of the entries by default.

    Raises:
        UnknownNameError: there is no such architecture.
        OutputError: the target cannot be written.
        ConfigError: a target of another kind, or an origin that has no such network.
        WeightsError: the file cannot be read, or does not hold exactly this architecture's weights, or is one of a
            network that it cannot compute.
    """
    target = local_path(target, "the target")
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"expected a target that ends in {' or '.join(SUFFIXES)}, got {str(target)!r}")
    variant = models.MODELS[arch]
    with paddle.LazyGuard():
        outline = variant.build()
    arrays = weights.read(source).arrays
    plain = torch_import.normalize_names(arrays)
    dialect = torch_import.recognize(plain, arch, origin, source)
    notes: list[str] = []
    if dialect is None:
        network = variant.build(**_class_option(arrays, outline))
        del arrays, plain
        weights.load_weights(network, source, head="strict", candidates=models.shapes_near)
    else:
        translation = torch_import.translate(
            plain, outline, dialect, architecture=arch, source=source, candidates=_outlines(dialect)
        )
        network = variant.build(**_class_option(translation.arrays, outline))
        weights.load_weights(network, translation.arrays, head="strict")
        notes = translation.notes
    spoken = "paddleclas" if dialect is None else origin or dialect.origins[0]
    state = network.state_dict()
    class_num = _classes(_head_weight(network)[1].shape)
    _write(state, target, {"architecture": arch, "class_num": str(class_num), "origin": spoken})
    return Conversion(str(source), target, arch, spoken, class_num, len(state), tuple(notes))


def _class_option(arrays: Mapping[str, np.ndarray], outline: Classifier) -> dict[str, int]:
    """The option that builds `outline` anew with the number of classes of the arrays; none if they have no head."""
    key, tensor = _head_weight(outline)
    found = next((arrays[name] for name in (key, tensor.name) if name in arrays), None)
    return {} if found is None or found.ndim != tensor.ndim else {"class_num": _classes(found.shape)}


def _head_weight(network: Classifier) -> tuple[str, paddle.Tensor]:
    """Structured name and tensor of a weight whose size is the number of classes."""
    key = f"{network.head_layers[0]}.weight"
    return key, network.state_dict()[key]


def _classes(shape: Sequence[int]) -> int:
    """Of a linear layer's weight (in x out) or a filter (out x in x H x W)."""
    return int(shape[1] if len(shape) == 2 else shape[0])


def _outlines(dialect: torch_import.NamingScheme) -> Iterator[tuple[str, Classifier]]:
    """The architectures of a dialect, without values."""
    for name, variant in models.MODELS.items():
        if dialect.fits(name):
            with paddle.LazyGuard():
                network = variant.build()
            yield name, network


def _write(state: Mapping[str, paddle.Tensor], target: Path, metadata: Mapping[str, str]) -> None:
    try:
        if target.suffix == ".safetensors":
            weights.save_safetensors({key: value.numpy() for key, value in state.items()}, target, metadata)
        else:
            weights.save_pdparams(state, target)
    except OSError as error:
        raise OutputError(target, error) from error
