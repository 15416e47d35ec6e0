"""Networks of PyTorch as `fixtures/foreign` records them: entries, and what they answer with the weights made here."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "fixtures" / "foreign"


def record(name: str) -> dict:
    """`layers`; for networks that are imported also `size`, `logits` and `zero_biases`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def weights(layers: dict[str, str], *, zero_biases: bool = False) -> dict[str, np.ndarray]:
    """A state dict as PyTorch has it, each value made from its name.

    Args:
        layers: those of a record.
        zero_biases: whether the biases of convolutions are zero.
    """
    state = {}
    for layer, spec in layers.items():
        if spec.startswith("bn "):
            shape = (int(spec[3:]),)
            kinds = ("weight", "bias", "running_mean", "running_var")
            state |= {f"{layer}.{kind}": _value(f"{layer}.{kind}", shape) for kind in kinds}
            state[f"{layer}.num_batches_tracked"] = np.array(7)
        else:
            shape = tuple(map(int, spec.removesuffix(" bias").split("x")))
            state[f"{layer}.weight"] = _value(f"{layer}.weight", shape)
            if spec.endswith(" bias"):
                bias = _value(f"{layer}.bias", shape[:1])
                state[f"{layer}.bias"] = np.zeros_like(bias) if zero_biases and layer.startswith("features.") else bias
    return state


def _value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    value = random.standard_normal(shape, np.float32)
    if len(shape) > 1:
        return value * np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
    if name.endswith("running_var"):
        return np.float32(0.5) + random.random(shape, np.float32)
    return np.float32(0.1) * value + np.float32(name.endswith("weight"))
