"""Convert weights from PyTorch, PaddleClas or safetensors to the weights of one architecture (`ppzoo convert`).

Weights of PyTorch networks are converted by `ppzoo.weights.torch_import`: exactly, or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppzoo import models, weights
from ppzoo.errors import ConfigError, OutputError, count_text, errors_with_key
from ppzoo.files import WEIGHTS, local_path
from ppzoo.host import MAX_CHANNELS
from ppzoo.layers import Classifier
from ppzoo.progress import Progress
from ppzoo.weights import torch_import

SUFFIXES = (WEIGHTS, ".safetensors")


@dataclass(frozen=True)
class Conversion:
    """Summary of a conversion.

    Attributes:
        source, target: the file that was read, and the one that was written.
        architecture: the architecture of `target`.
        origin: origin of the entry names in `source`, one of `torch_import.ORIGINS`.
        class_num: number of classes of the classifier.
        entries: number of arrays written.
        notes: changed values, and what the user of the network has to know.
    """

    source: str
    target: Path
    architecture: str
    origin: str
    class_num: int
    entries: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        written = f"{self.target}: {self.architecture} with {self.class_num} classes, {self.entries} entries"
        return "\n".join([f"{written}, from {self.source} (names of {self.origin})", *self.notes])


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], arch: str, origin: str | None = None
) -> Conversion:
    """Read weights, convert them to the architecture `arch` with the file's number of classes, and write them.

    The network takes images with as many channels as the network in the file, such as 1 for gray images.

    Args:
        source: path or URL, as for `ppzoo.weights.read`.
        target: path that ends in `.pdparams` or `.safetensors`; the latter stores architecture and origin as metadata.
        arch: name of the architecture.
        origin: one of `torch_import.ORIGINS`; by default recognized by the names of the entries.

    Raises:
        UnknownNameError: there is no such architecture.
        OutputError: the target cannot be written.
        ConfigError: the target has another suffix, or the origin has no such network.
        WeightsError: the file cannot be read, does not contain exactly the weights of this architecture, or belongs to
            a network that the architecture cannot reproduce.
    """
    target = local_path(target, "OUT")
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"OUT: expected a path that ends in {' or '.join(SUFFIXES)}, got {str(target)!r}")
    with errors_with_key("--arch"):
        variant = models.MODELS[arch]
    with Progress(3, f"converting to {arch}", unit="step") as progress:
        with paddle.LazyGuard():
            outline = variant.build()
        with errors_with_key("IN"):
            arrays = weights.read(source).arrays
        progress.advance()
        plain = torch_import.normalize_names(arrays)
        scheme = torch_import.recognize(plain, arch, origin, source)
        notes: list[str] = []
        if scheme is None:
            network = variant.build(**_class_option(arrays, outline), in_channels=_image_channels(arrays, outline))
            del arrays, plain
            weights.load_weights(network, source, head="strict", candidates=models.shapes_near)
        else:
            with paddle.LazyGuard():
                outline = variant.build(in_channels=_image_channels(plain, outline, scheme))
            translation = torch_import.translate(
                plain, outline, scheme, architecture=arch, source=source, candidates=_outlines(scheme)
            )
            options = _class_option(translation.arrays, outline)
            network = variant.build(**options, in_channels=outline.image_channels)
            weights.load_weights(network, translation.arrays, head="strict")
            notes = translation.notes
        if network.image_channels != variant.image_shape[0]:
            channels = count_text(network.image_channels, "channel")
            notes = [*notes, f"the network takes images with {channels}: set Arch.in_channels={network.image_channels}"]
        progress.advance()
        found_origin = "paddleclas" if scheme is None else origin or scheme.origins[0]
        state = network.state_dict()
        class_num = _class_count(_head_weight(network)[1].shape)
        _write(state, target, {"architecture": arch, "class_num": str(class_num), "origin": found_origin})
        progress.advance()
    return Conversion(str(source), target, arch, found_origin, class_num, len(state), tuple(notes))


def _class_option(arrays: Mapping[str, np.ndarray], outline: Classifier) -> dict[str, int]:
    """Return the option `class_num` with the number of classes of the arrays; empty if they contain no head."""
    key, tensor = _head_weight(outline)
    found = next((arrays[name] for name in (key, tensor.name) if name in arrays), None)
    return {} if found is None or found.ndim != tensor.ndim else {"class_num": _class_count(found.shape)}


def _image_channels(
    arrays: Mapping[str, np.ndarray], outline: Classifier, scheme: torch_import.NamingScheme | None = None
) -> int | None:
    """Return the channels of the images that the arrays are for; None if they contain no kernel that reads images.

    Args:
        scheme: the naming scheme of the arrays; None: structured names or parameter names of `outline`.
    """
    key = f"{outline.stem_paths[0]}.weight"
    tensor = outline.state_dict()[key]
    names = [key, tensor.name]
    if scheme is not None:
        names = [torch_import.locate_entries(outline, scheme).torch_names.get(key, "")] if scheme.layers else []
    found = next((arrays[name] for name in names if name in arrays), None)
    return int(found.shape[1]) if found is not None and found.ndim == 4 and found.shape[1] <= MAX_CHANNELS else None


def _head_weight(network: Classifier) -> tuple[str, paddle.Tensor]:
    """Return structured name and tensor of a weight of the head."""
    key = f"{network.head_layers[0]}.weight"
    return key, network.state_dict()[key]


def _class_count(shape: Sequence[int]) -> int:
    """Number of classes of a linear layer's weight (in x out) or a kernel (out x in x H x W)."""
    return int(shape[1] if len(shape) == 2 else shape[0])


def _outlines(scheme: torch_import.NamingScheme) -> Iterator[tuple[str, Classifier]]:
    """Yield name and network of the scheme's architectures, without values."""
    for name, variant in models.MODELS.items():
        if scheme.covers(name):
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
        raise OutputError(target, error, "OUT") from error
