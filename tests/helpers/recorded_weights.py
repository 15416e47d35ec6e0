"""Recorded PyTorch networks (`fixtures/foreign`): their entries, and their logits with the weights generated here."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent.parent / "fixtures" / "foreign"


def record(name: str) -> dict:
    """Return `layers`, and for convertible networks also `size`, `logits` and `zero_biases`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def shapes(layers: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of PyTorch's state dict from the `layers` of a record."""
    found: dict[str, tuple[int, ...]] = {}
    for layer, spec in layers.items():
        if spec.startswith("bn "):
            channels = (int(spec[3:]),)
            found |= {f"{layer}.{kind}": channels for kind in ("weight", "bias", "running_mean", "running_var")}
            found[f"{layer}.num_batches_tracked"] = ()
        else:
            shape = tuple(map(int, spec.removesuffix(" bias").split("x")))
            found[f"{layer}.weight"] = shape
            if spec.endswith(" bias"):
                found[f"{layer}.bias"] = shape[:1]
    return found


def weights(layers: dict[str, str], *, zero_biases: bool = False) -> dict[str, np.ndarray]:
    """Generate a state dict from its names; `zero_biases`: biases of convolutions in `features` are zero."""
    state = {name: _value(name, shape) for name, shape in shapes(layers).items()}
    if zero_biases:
        state |= {n: np.zeros_like(v) for n, v in state.items() if n.startswith("features.") and n.endswith(".bias")}
    return state


def _value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if not shape:
        return np.array(7)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    value = random.standard_normal(shape, np.float32)
    if len(shape) > 1:
        return value * np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
    if name.endswith("running_var"):
        return np.float32(0.5) + random.random(shape, np.float32)
    return np.float32(0.1) * value + np.float32(name.endswith("weight"))
