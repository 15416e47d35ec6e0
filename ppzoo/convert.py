"""Weights of any origin, written anew for one architecture: what `ppzoo convert` does.

PyTorch's networks become ours by `ppzoo.weights.foreign`: exactly, or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppzoo import models, weights
from ppzoo.errors import ConfigError
from ppzoo.layers import Classifier
from ppzoo.weights import foreign

SUFFIXES = (".pdparams", ".safetensors")


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        source, target: the file that was read, and the one that was written.
        architecture: whose weights it holds now.
        origin: who named the entries of `source`: one of `foreign.ORIGINS`.
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
        origin: one of `foreign.ORIGINS`; told from the names of the entries by default.

    Raises:
        UnknownNameError: there is no such architecture.
        ConfigError: a target of another kind, or an origin that has no such network.
        WeightsError: the file cannot be read, or does not hold exactly this architecture's weights, or is one of a
            network that it cannot compute.
    """
    target = Path(target)
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"expected a target that ends in {' or '.join(SUFFIXES)}, received {str(target)!r}")
    variant = models.MODELS[arch]
    with paddle.LazyGuard():
        outline = variant.build()
    arrays = weights.read(source).arrays
    plain = foreign.plain_names(arrays)
    dialect = foreign.recognise(plain, arch, origin, source)
    notes: list[str] = []
    if dialect is None:
        network = variant.build(**_class_option(arrays, outline))
        del arrays, plain
        weights.load_weights(network, source, head="strict", candidates=models.all_shapes())
    else:
        translation = foreign.translate(
            plain, outline, dialect, architecture=arch, source=source, candidates=_outlines(arch)
        )
        network = variant.build(**_class_option(translation.arrays, outline))
        weights.load_weights(network, translation.arrays, head="strict")
        notes = translation.notes
    spoken = "paddleclas" if dialect is None else origin or dialect.origins[0]
    state = network.state_dict()
    class_num = _classes({key: tuple(value.shape) for key, value in state.items()}, network)
    _write(state, target, {"architecture": arch, "class_num": str(class_num), "origin": spoken})
    return Conversion(str(source), target, arch, spoken, class_num, len(state), tuple(notes))
