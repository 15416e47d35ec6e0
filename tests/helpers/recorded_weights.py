"""Recorded PyTorch networks (`fixtures/foreign`): their entries, and their logits with the weights generated here."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent.parent / "fixtures" / "foreign"


def record(name: str) -> dict:
    """Return `layers`, and for convertible networks also `size`, `logits`, `gain` (1 if absent) and `zero_biases`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def shapes(layers: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of PyTorch's state dict from the `layers` of a record."""
    found: dict[str, tuple[int, ...]] = {}
    for layer, spec in layers.items():
        if spec.startswith("bn "):
            channels = (int(spec[3:]),)
            found |= {f"{layer}.{kind}": channels for kind in ("weight", "bias", "running_mean", "running_var")}
            found[f"{layer}.num_batches_tracked"] = ()
        elif spec == "affine":
            found |= {f"{layer}.scale": (1,), f"{layer}.bias": (1,)}
        elif spec.startswith("gamma "):
            found[f"{layer}.gamma"] = (int(spec[6:]),)
        else:
            shape = tuple(map(int, spec.removesuffix(" bias").split("x")))
            found[f"{layer}.weight"] = shape
            if spec.endswith(" bias"):
                found[f"{layer}.bias"] = shape[:1]
    return found


def weights(layers: dict[str, str], *, zero_biases: bool = False, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Generate a state dict from its names.

    Args:
        layers: the `layers` of a record.
        zero_biases: whether the biases of convolutions in `features` and of `conv_head` are zero.
        gain: factor of all kernels and weights of linear layers.
    """
    state = {name: _value(name, shape, gain) for name, shape in shapes(layers).items()}
    if zero_biases:
        biases = [name for name in state if name.startswith(("features.", "conv_head.")) and name.endswith(".bias")]
        state |= {name: np.zeros_like(state[name]) for name in biases}
    return state


def _value(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    if not shape:
        return np.array(7)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    value = random.standard_normal(shape, np.float32)
    if len(shape) > 1:
        return value * np.float32(gain * np.sqrt(2.0 / np.prod(shape[1:])))
    if name.endswith("running_var"):
        return np.float32(0.5) + random.random(shape, np.float32)
    if name.endswith(".lab.bias"):
        value = np.abs(value)
    return np.float32(0.1) * value + np.float32(name.endswith(("weight", "scale", "gamma")))
